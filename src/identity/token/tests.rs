//! Tokens as an attacker would write them: each is refused, for its own reason.

use super::*;
use crate::identity::Peer;
use crate::model::{GrantId, JwsAlgorithm, Time};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

pub(crate) const AGENT: &str = "spiffe://d/agent";
pub(crate) const NOW: i64 = 1_000;

pub(crate) struct Signer {
    pair: EcdsaKeyPair,
    jwk: Value,
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn at(seconds: i64) -> Time {
    Time::from_micros(seconds * 1_000_000)
}

impl Signer {
    pub(crate) fn new(kid: &str) -> Self {
        let random = SystemRandom::new();
        let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.as_ref()).unwrap();
        let point = pair.public_key().as_ref().to_vec();
        let jwk =
            json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": b64(&point[1..33]), "y": b64(&point[33..])});
        Self { pair, jwk }
    }

    /// Header and claims exactly as they are written here, properly signed.
    pub(crate) fn sign(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", b64(header), b64(claims));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", b64(signature.as_ref()))
    }

    pub(crate) fn keys(&self) -> GateKeys {
        let jwks = json!({"keys": [self.jwk]}).to_string();
        GateKeys::new(&TokenKeys { issuer: "us".into(), audience: "gate".into(), jwks }).unwrap()
    }
}

fn peer(name: &str) -> Peer {
    Peer::for_tests(name, Time::MAX)
}

pub(crate) fn claims() -> Value {
    json!({
        "iss": "us", "aud": "gate", "sub": AGENT, "client_id": AGENT, "iat": NOW - 10, "exp": NOW + 10,
        "jti": GrantId::from_bits(7).to_string(), "cnf": {"x5t#S256": thumbprint(peer(AGENT).certificate_sha256())},
    })
}

fn with(name: &str, value: Value) -> String {
    let mut claims = claims();
    claims[name] = value;
    claims.to_string()
}

pub(crate) const HEADER: &str = r#"{"alg":"ES256","typ":"at+jwt","kid":"k"}"#;

fn verify(signer: &Signer, token: &str) -> Result<GrantId, TokenFault> {
    signer.keys().verify(token, &peer(AGENT), at(NOW)).map(GrantToken::grant)
}

#[test]
fn a_token_of_this_certificate_names_its_grant_until_it_ends() {
    let signer = Signer::new("k");
    let token = signer.sign(HEADER, &claims().to_string());
    assert_eq!(verify(&signer, &token), Ok(GrantId::from_bits(7)));
    let keys = signer.keys();
    let held = keys.verify(&token, &peer(AGENT), at(NOW)).unwrap();
    assert!(held.at(Time::from_micros(at(NOW + 10).as_micros() - 1)).is_ok());
    assert_eq!(held.at(at(NOW + 10)), Err(TokenFault::Expired));
    assert_eq!(keys.verify(&token, &peer(AGENT), at(NOW + 10)).unwrap_err(), TokenFault::Expired);
    let later = signer.sign(HEADER, &with("nbf", json!(NOW + 1)));
    assert_eq!(verify(&signer, &later), Err(TokenFault::NotYetValid));
    // An audience may be a list.
    assert!(verify(&signer, &signer.sign(HEADER, &with("aud", json!(["x", "gate"])))).is_ok());
}

#[test]
fn headers_that_ask_for_another_verification_are_refused() {
    let signer = Signer::new("k");
    let foreign = Signer::new("k");
    let own_key = foreign.jwk.to_string();
    for (header, fault) in [
        (r#"{"alg":"none","typ":"at+jwt","kid":"k"}"#.to_owned(), TokenFault::Algorithm),
        (r#"{"alg":"None","typ":"at+jwt","kid":"k"}"#.to_owned(), TokenFault::Algorithm),
        (r#"{"alg":"HS256","typ":"at+jwt","kid":"k"}"#.to_owned(), TokenFault::Algorithm),
        (r#"{"alg":"ES384","typ":"at+jwt","kid":"k"}"#.to_owned(), TokenFault::Algorithm),
        (r#"{"alg":"EdDSA","typ":"at+jwt","kid":"k"}"#.to_owned(), TokenFault::Algorithm),
        (r#"{"alg":"ES256","typ":"at+jwt"}"#.to_owned(), TokenFault::UnknownKey),
        (r#"{"alg":"ES256","typ":"at+jwt","kid":"other"}"#.to_owned(), TokenFault::UnknownKey),
        (r#"{"alg":"ES256","typ":"JWT","kid":"k"}"#.to_owned(), TokenFault::Kind),
        (r#"{"alg":"ES256","typ":"application/at+jwt","kid":"k"}"#.to_owned(), TokenFault::Kind),
        (r#"{"alg":"ES256","typ":"AT+JWT","kid":"k"}"#.to_owned(), TokenFault::Kind),
        (r#"{"alg":"ES256","kid":"k"}"#.to_owned(), TokenFault::Kind),
        (r#"{"alg":"ES256","typ":"at+jwt","kid":"k","kid":"k"}"#.to_owned(), TokenFault::Form),
        (r#"{"alg":"none","alg":"ES256","typ":"at+jwt","kid":"k"}"#.to_owned(), TokenFault::Form),
        (r#"{"alg":["ES256"],"typ":"at+jwt","kid":"k"}"#.to_owned(), TokenFault::Form),
        (r#"["ES256"]"#.to_owned(), TokenFault::Form),
        (r#"{"alg":"ES256","typ":"at+jwt","kid":"k","crit":["exp"]}"#.to_owned(), TokenFault::Header),
        (r#"{"alg":"ES256","typ":"at+jwt","kid":"k","crit":[]}"#.to_owned(), TokenFault::Header),
        (format!(r#"{{"alg":"ES256","typ":"at+jwt","kid":"k","jwk":{own_key}}}"#), TokenFault::Header),
        (r#"{"alg":"ES256","typ":"at+jwt","kid":"k","jku":"https://x/"}"#.to_owned(), TokenFault::Header),
        (r#"{"alg":"ES256","typ":"at+jwt","kid":"k","x5u":"https://x/"}"#.to_owned(), TokenFault::Header),
        (r#"{"alg":"ES256","typ":"at+jwt","kid":"k","x5c":["MII="]}"#.to_owned(), TokenFault::Header),
        (r#"{"alg":"ES256","typ":"at+jwt","kid":"k","b64":false}"#.to_owned(), TokenFault::Header),
        (r#"{"alg":"ES256","typ":"at+jwt","kid":"k","zip":"DEF"}"#.to_owned(), TokenFault::Header),
    ] {
        // Signed by the right key, so that nothing but the header can be the reason.
        assert_eq!(verify(&signer, &signer.sign(&header, &claims().to_string())), Err(fault), "{header}");
    }
    let forged = foreign.sign(HEADER, &claims().to_string());
    assert_eq!(verify(&signer, &forged), Err(TokenFault::Signature));
}

#[test]
fn the_public_key_is_no_shared_secret() {
    let signer = Signer::new("k");
    let signed =
        format!("{}.{}", b64(r#"{"alg":"HS256","typ":"at+jwt","kid":"k"}"#), b64(claims().to_string()));
    for secret in [signer.pair.public_key().as_ref().to_vec(), signer.jwk.to_string().into_bytes()] {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &secret);
        let token = format!("{signed}.{}", b64(aws_lc_rs::hmac::sign(&key, signed.as_bytes())));
        assert_eq!(verify(&signer, &token), Err(TokenFault::Algorithm));
    }
}

#[test]
fn claims_that_are_another_tokens_are_refused() {
    let signer = Signer::new("k");
    let other = thumbprint(peer("spiffe://d/other").certificate_sha256());
    for (claims, fault) in [
        (with("iss", json!("them")), TokenFault::Issuer),
        (with("iss", json!(["us"])), TokenFault::Claims),
        (with("aud", json!("them")), TokenFault::Audience),
        (with("aud", json!([])), TokenFault::Audience),
        (with("aud", json!({"gate": 1})), TokenFault::Claims),
        (with("exp", json!(NOW - 1)), TokenFault::Expired),
        (with("exp", json!(NOW)), TokenFault::Expired),
        (with("exp", json!("2000")), TokenFault::Claims),
        (with("exp", json!(null)), TokenFault::Claims),
        (with("exp", json!(1e300)), TokenFault::Claims),
        (with("exp", json!(i64::MAX)), TokenFault::Claims),
        (with("client_id", json!("spiffe://d/other")), TokenFault::Principal),
        (with("cnf", json!({"x5t#S256": other})), TokenFault::Certificate),
        (with("cnf", json!({"jkt": other})), TokenFault::Certificate),
        (with("cnf", json!(null)), TokenFault::Certificate),
        (with("jti", json!("gr_1")), TokenFault::Claims),
        (claims().to_string().replacen('{', r#"{"exp":9999999999,"#, 1), TokenFault::Form),
        (
            claims().to_string().replacen(r#"{"x5t#S256""#, r#"{"x5t#S256":"a","x5t#S256""#, 1),
            TokenFault::Form,
        ),
    ] {
        assert_eq!(verify(&signer, &signer.sign(HEADER, &claims)), Err(fault), "{claims}");
    }
    let mut without = claims();
    without.as_object_mut().unwrap().remove("exp");
    assert_eq!(verify(&signer, &signer.sign(HEADER, &without.to_string())), Err(TokenFault::Claims));
    // Another workload that got hold of it.
    let token = signer.sign(HEADER, &claims().to_string());
    let stolen = signer.keys().verify(&token, &peer("spiffe://d/other"), at(NOW));
    assert_eq!(stolen, Err(TokenFault::Principal));
}

#[test]
fn what_is_not_exactly_the_compact_form_has_no_reading() {
    let signer = Signer::new("k");
    let token = signer.sign(HEADER, &claims().to_string());
    let parts: Vec<&str> = token.split('.').collect();
    let json = json!({"protected": parts[0], "payload": parts[1], "signature": parts[2]}).to_string();
    for broken in [
        String::new(),
        "..".to_owned(),
        format!("{}.{}", parts[0], parts[1]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{token}.x"),
        format!("{token}="),
        format!(" {token}"),
        format!("{token} "),
        token.replacen('.', "..", 1),
        format!("{}=.{}.{}", parts[0], parts[1], parts[2]),
        json,
    ] {
        assert_eq!(verify(&signer, &broken), Err(TokenFault::Form), "{broken}");
    }
    // Cut anywhere, it never holds.
    for length in 0..token.len() {
        assert!(verify(&signer, &token[..length]).is_err(), "{length}");
    }
    // Changed anywhere, neither: base64 has no second spelling for the last digit.
    for place in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
        assert!(verify(&signer, &String::from_utf8(changed).unwrap()).is_err(), "{place}");
    }
    let long = signer.sign(HEADER, &with("pad", json!("x".repeat(MAX_TOKEN))));
    assert_eq!(verify(&signer, &long), Err(TokenFault::TooLong));
    let deep = signer.sign(HEADER, &format!("{}{}", "[".repeat(9_000), "]".repeat(9_000)));
    assert!(verify(&signer, &deep).is_err());
}

#[test]
fn a_token_that_means_to_be_ours_is_told_from_a_strangers() {
    let (signer, stranger) = (Signer::new("k"), Signer::new("theirs"));
    let keys = signer.keys();
    let token = signer.sign(HEADER, &claims().to_string());
    let theirs = r#"{"alg":"ES256","kid":"theirs"}"#;
    // Each token that holds is ours; so is whatever names our key or us.
    assert!(keys.is_ours(&token));
    assert!(keys.is_ours(token.split('.').next().map(|header| format!("{header}.x.y")).unwrap().as_str()));
    assert!(keys.is_ours(&stranger.sign(theirs, &claims().to_string())));
    assert!(keys.is_ours(&stranger.sign(r#"{"alg":"none"}"#, &claims().to_string())));
    assert!(keys.is_ours(&stranger.sign(theirs, r#"{"iss":"them","iss":"us"}"#)));
    assert!(!keys.is_ours(&stranger.sign(theirs, &with("iss", json!("them")))));
    for foreign in ["", "opaque", "a.b", "a.b.c", "ghp_0123456789", "\u{e9}"] {
        assert!(!keys.is_ours(foreign), "{foreign}");
    }
}

#[test]
fn sets_of_keys_that_are_doubtful_are_refused_and_others_left_out() {
    let (one, two) = (Signer::new("k"), Signer::new("k"));
    let parse = |keys: Value| KeySet::parse(json!({"keys": keys}).to_string().as_bytes(), &JwsAlgorithm::ALL);
    let bent = |name: &str, value: Value| {
        let mut jwk = one.jwk.clone();
        jwk[name] = value;
        jwk
    };
    assert!(parse(json!([one.jwk])).is_ok());
    assert_eq!(parse(json!([one.jwk, two.jwk])).unwrap_err(), KeySetError::Twice);
    assert_eq!(parse(json!([bent("d", json!("x"))])).unwrap_err(), KeySetError::Private);
    assert_eq!(parse(json!([{"kty": "oct", "k": "x", "kid": "k"}])).unwrap_err(), KeySetError::Private);
    assert_eq!(parse(json!(vec![one.jwk.clone(); 65])).unwrap_err(), KeySetError::TooMany);
    assert_eq!(KeySet::parse(b"{\"keys\":[],\"keys\":[]}", &[]).unwrap_err(), KeySetError::Form);
    for left_out in [
        json!([]),
        json!([bent("use", json!("enc"))]),
        json!([bent("key_ops", json!(["sign"]))]),
        json!([bent("alg", json!("HS256"))]),
        json!([bent("alg", json!("RS256"))]),
        json!([bent("kid", json!(""))]),
        json!([bent("crv", json!("secp256k1"))]),
    ] {
        assert_eq!(parse(left_out.clone()).unwrap_err(), KeySetError::Empty, "{left_out}");
    }
    let none_allowed =
        KeySet::parse(json!({"keys": [one.jwk]}).to_string().as_bytes(), &[JwsAlgorithm::EdDsa]);
    assert_eq!(none_allowed.unwrap_err(), KeySetError::Empty);
}

/// Issuers sign with what they have: each algorithm that can be allowed is really verified, and only under its own name.
#[test]
fn every_algorithm_that_can_be_allowed_is_verified() {
    use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
    use aws_lc_rs::signature as sig;
    let random = SystemRandom::new();
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let (n, e) = (rsa.public_key().modulus(), rsa.public_key().exponent());
    let (n, e) = (b64(n.big_endian_without_leading_zero()), b64(e.big_endian_without_leading_zero()));
    let der = EcdsaKeyPair::generate_pkcs8(&sig::ECDSA_P384_SHA384_FIXED_SIGNING, &random).unwrap();
    let p384 = EcdsaKeyPair::from_pkcs8(&sig::ECDSA_P384_SHA384_FIXED_SIGNING, der.as_ref()).unwrap();
    let der = sig::Ed25519KeyPair::generate_pkcs8(&random).unwrap();
    let ed = sig::Ed25519KeyPair::from_pkcs8(der.as_ref()).unwrap();
    let p256 = Signer::new("k");
    let jwk_of = |algorithm: JwsAlgorithm| match algorithm {
        JwsAlgorithm::Es256 => p256.jwk.clone(),
        JwsAlgorithm::Es384 => {
            let point = p384.public_key().as_ref();
            json!({"kty": "EC", "crv": "P-384", "kid": "k", "x": b64(&point[1..49]), "y": b64(&point[49..])})
        }
        JwsAlgorithm::EdDsa => {
            json!({"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": b64(ed.public_key().as_ref())})
        }
        JwsAlgorithm::Rs256
        | JwsAlgorithm::Rs384
        | JwsAlgorithm::Rs512
        | JwsAlgorithm::Ps256
        | JwsAlgorithm::Ps384
        | JwsAlgorithm::Ps512 => {
            json!({"kty": "RSA", "kid": "k", "alg": algorithm.as_str(), "n": n, "e": e})
        }
    };
    let by_rsa = |padding: &'static dyn sig::RsaEncoding, message: &[u8]| {
        let mut signature = vec![0; rsa.public_modulus_len()];
        rsa.sign(padding, &random, message, &mut signature).unwrap();
        signature
    };
    let sign = |algorithm: JwsAlgorithm, message: &[u8]| match algorithm {
        JwsAlgorithm::Es256 => p256.pair.sign(&random, message).unwrap().as_ref().to_vec(),
        JwsAlgorithm::Es384 => p384.sign(&random, message).unwrap().as_ref().to_vec(),
        JwsAlgorithm::EdDsa => ed.sign(message).as_ref().to_vec(),
        JwsAlgorithm::Rs256 => by_rsa(&sig::RSA_PKCS1_SHA256, message),
        JwsAlgorithm::Rs384 => by_rsa(&sig::RSA_PKCS1_SHA384, message),
        JwsAlgorithm::Rs512 => by_rsa(&sig::RSA_PKCS1_SHA512, message),
        JwsAlgorithm::Ps256 => by_rsa(&sig::RSA_PSS_SHA256, message),
        JwsAlgorithm::Ps384 => by_rsa(&sig::RSA_PSS_SHA384, message),
        JwsAlgorithm::Ps512 => by_rsa(&sig::RSA_PSS_SHA512, message),
    };
    for algorithm in JwsAlgorithm::ALL {
        let set = json!({"keys": [jwk_of(algorithm)]}).to_string();
        let keys = KeySet::parse(set.as_bytes(), &[algorithm]).unwrap();
        for stated in JwsAlgorithm::ALL {
            let signed = format!("{}.{}", b64(format!(r#"{{"alg":"{stated}","kid":"k"}}"#)), b64("{}"));
            let token = format!("{signed}.{}", b64(sign(algorithm, signed.as_bytes())));
            let verified = Jws::parse(&token).unwrap().verify(&keys).map(|_| ());
            let expected = if stated == algorithm { Ok(()) } else { Err(TokenFault::Algorithm) };
            assert_eq!(verified, expected, "{algorithm} {stated}");
        }
    }
}
