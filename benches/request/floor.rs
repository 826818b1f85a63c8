//! The floor: hyper and tokio-rustls, a client certificate demanded, every request passed on. It decides and writes nothing.

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

type Body = BoxBody<Bytes, hyper::Error>;

pub(crate) fn main(listen: &str, upstream: &str, data: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::select! {
            () = serve(listen, upstream, Path::new(data)) => {}
            _ = terminated() => {}
        }
    });
}

async fn terminated() {
    tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap().recv().await;
}

fn config(data: &Path) -> rustls::ServerConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(data.join("ca.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone())
            .build()
            .unwrap();
    let chain = vec![CertificateDer::from_pem_file(data.join("proxy/cert.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(data.join("proxy/key.pem")).unwrap();
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

async fn serve(listen: &str, upstream: &str, data: &Path) {
    let acceptor = TlsAcceptor::from(Arc::new(config(data)));
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<_, Incoming> = Client::builder(TokioExecutor::new()).build(connector);
    let server = auto::Builder::new(TokioExecutor::new());
    let listener = tokio::net::TcpListener::bind(listen).await.unwrap();
    loop {
        let Ok((tcp, _)) = listener.accept().await else { continue };
        let _ = tcp.set_nodelay(true);
        let (acceptor, server, client, upstream) =
            (acceptor.clone(), server.clone(), client.clone(), upstream.to_owned());
        tokio::spawn(async move {
            let Ok(tls) = acceptor.accept(tcp).await else { return };
            let service =
                hyper::service::service_fn(move |request| pass(request, client.clone(), upstream.clone()));
            let _ = server.serve_connection(TokioIo::new(tls), service).await;
        });
    }
}

async fn pass(
    mut request: Request<Incoming>,
    client: Client<HttpConnector, Incoming>,
    upstream: String,
) -> Result<Response<Body>, hyper::Error> {
    let path = request.uri().path_and_query().unwrap().clone();
    *request.uri_mut() =
        Uri::builder().scheme("http").authority(upstream).path_and_query(path).build().unwrap();
    *request.version_mut() = http::Version::HTTP_11;
    request.headers_mut().remove(http::header::CONNECTION);
    Ok(match client.request(request).await {
        Ok(mut response) => {
            *response.version_mut() = http::Version::HTTP_11;
            response.map(BodyExt::boxed)
        }
        Err(_) => {
            let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed());
            *response.status_mut() = http::StatusCode::BAD_GATEWAY;
            response
        }
    })
}
