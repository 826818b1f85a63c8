//! What `up` prints: what runs, and next steps that work as printed.

use crate::config::ServiceConfig;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

/// What is known about the running `up`.
pub(super) struct Welcome<'a> {
    /// How this program was called: not everybody has it in their path.
    pub(super) program: &'a str,
    /// Its folder, as the reader's shell would find it.
    pub(super) data: &'a Path,
    /// Whether verbs need `--data` to find it.
    pub(super) elsewhere: bool,
    /// Callers.
    pub(super) proxy: SocketAddr,
    /// The API.
    pub(super) control: SocketAddr,
    /// Metrics and health.
    pub(super) admin: SocketAddr,
    /// The first domain.
    pub(super) domain: &'a str,
    /// What is protected.
    pub(super) services: &'a [ServiceConfig],
    /// Whether that is the sample API.
    pub(super) sample: bool,
}

impl Welcome<'_> {
    /// The whole text.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let data = self.data.display();
        writeln!(out, "jitgate is up.\n")?;
        writeln!(out, "  proxy     https://{}", self.proxy)?;
        for service in self.services {
            let upstream = service.upstreams.first().map(ToString::to_string).unwrap_or_default();
            let what = match &service.mcp {
                _ if self.sample => "the built-in sample API".to_owned(),
                Some(mcp) => format!("{upstream}{} (MCP)", mcp.path),
                None => upstream,
            };
            writeln!(out, "            {:<24} {what}", self.url(service))?;
        }
        writeln!(out, "  control   https://{}", self.control)?;
        writeln!(out, "  metrics   http://{}/metrics", self.admin)?;
        writeln!(out, "  data      {data}\n")?;
        self.steps(out)
    }

    fn steps(&self, out: &mut String) -> std::fmt::Result {
        let Some(service) = self.services.first() else { return Ok(()) };
        if service.mcp.is_some() {
            return self.mcp_steps(service, out);
        }
        let data = quoted(&self.data.display().to_string());
        let program = quoted(self.program);
        let more = if self.elsewhere { format!(" --data {data}") } else { String::new() };
        let (path, stream) = if self.sample { ("/v1/orders", "/v1/orders/events") } else { ("/", "/") };
        let name = &service.name;
        let url = self.url(service);
        let curl =
            format!("curl --cacert {data}/ca.pem --cert {data}/agent/cert.pem --key {data}/agent/key.pem");
        let resolve = self.resolve(service);
        writeln!(out, "Next steps, in another shell:\n")?;
        writeln!(out, "  # refused: nobody holds standing access\n  {curl}{resolve} {url}{path}\n")?;
        writeln!(
            out,
            "  # grant it to the agent, for one task and 15 minutes\n  {program} grant{more} \
             --principal spiffe://jitgate.local/agent/demo --task demo --scope '{name}:GET:/**' --ttl 15m --reason 'first steps'\n"
        )?;
        writeln!(out, "  # permitted\n  {curl}{resolve} {url}{path}\n")?;
        if self.sample {
            writeln!(
                out,
                "  # a stream that stays open (leave it running)\n  {curl}{resolve} -N {url}{stream}\n"
            )?;
        }
        let effect =
            if self.sample { "the stream is cut" } else { "what runs is cut, and calls are refused again" };
        writeln!(
            out,
            "  # revoke: {effect}\n  {program} revoke{more} --task demo --reason 'seen enough' --wait\n"
        )?;
        writeln!(out, "  # all of it is in the audit trail\n  {program} audit tail{more}")
    }

    /// The first service speaks MCP: its clients go through `connect`, which has the certificate.
    fn mcp_steps(&self, service: &ServiceConfig, out: &mut String) -> std::fmt::Result {
        let program = quoted(self.program);
        let data = quoted(&self.data.display().to_string());
        let more = if self.elsewhere { format!(" --data {data}") } else { String::new() };
        let name = &service.name;
        writeln!(out, "Next steps, in another shell:\n")?;
        writeln!(
            out,
            "  # what to put into the configuration of an MCP client\n  {program} connect{more} --service {name} --print-config\n"
        )?;
        writeln!(
            out,
            "  # without a grant it is shown no tool; grant one, with any arguments, for 15 minutes\n  {program} grant{more} \
             --principal spiffe://jitgate.local/agent/demo --task demo --scope '{name}:tools/call:TOOL{{*}}' --ttl 15m --reason 'first steps'\n"
        )?;
        writeln!(
            out,
            "  # revoke: a running call is cut and cancelled\n  {program} revoke{more} --task demo --reason 'seen enough' --wait\n"
        )?;
        writeln!(out, "  # every call is in the audit trail\n  {program} audit tail{more}")
    }

    fn url(&self, service: &ServiceConfig) -> String {
        match service.listen {
            Some(own) => format!("https://localhost:{}", own.port()),
            None => format!("https://{}.{}:{}", service.name, self.domain, self.proxy.port()),
        }
    }

    /// curl knows `*.localhost`; for everything else it is told where that is.
    fn resolve(&self, service: &ServiceConfig) -> String {
        let address = service.listen.unwrap_or(self.proxy);
        let ip = match address.ip() {
            ip if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            ip => ip,
        };
        if self.domain == "localhost" && ip == IpAddr::V4(Ipv4Addr::LOCALHOST) {
            return String::new();
        }
        match ip {
            IpAddr::V4(ip) => format!(" --connect-to ::{ip}:{}", address.port()),
            // In quotes: brackets are a shell's.
            IpAddr::V6(ip) => format!(" --connect-to '::[{ip}]:{}'", address.port()),
        }
    }
}

/// As one word of a shell.
fn quoted(text: &str) -> String {
    if text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._/".contains(&b)) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_name_the_folder_and_the_ports_in_use() {
        let services = ["orders=http://127.0.0.1:1".parse().unwrap()];
        let welcome = Welcome {
            program: "target/jitgate",
            data: Path::new("my data"),
            elsewhere: true,
            proxy: "127.0.0.2:9443".parse().unwrap(),
            control: "127.0.0.1:8444".parse().unwrap(),
            admin: "127.0.0.1:9464".parse().unwrap(),
            domain: "localhost",
            services: &services,
            sample: true,
        };
        let text = welcome.text();
        for part in [
            "curl --cacert 'my data'/ca.pem",
            "--connect-to ::127.0.0.2:9443 https://orders.localhost:9443/v1/orders\n",
            "\n  target/jitgate revoke --data 'my data' --task demo",
            "the built-in sample API",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let text = Welcome { proxy: "[::1]:9443".parse().unwrap(), ..welcome }.text();
        assert!(
            text.contains("--connect-to '::[::1]:9443' https://orders.localhost:9443/v1/orders\n"),
            "{text}"
        );
        let services = ["ops=mcp+http://127.0.0.1:3001/mcp".parse().unwrap()];
        let text = Welcome { services: &services, sample: false, ..welcome }.text();
        for part in [
            "http://127.0.0.1:3001/mcp (MCP)\n",
            "\n  target/jitgate connect --data 'my data' --service ops --print-config\n",
            "--scope 'ops:tools/call:TOOL{*}'",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
