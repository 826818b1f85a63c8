//! Where callers and people find this control plane, and whether a web page speaks through somebody's browser.
//!
//! Owns the rules against other sites: a browser shows its user's certificate to whatever page asks it to. A request has to come to a
//! name that is ours (no DNS rebinding), and what a page sends has to come from our own page.

use crate::config::Endpoint;
use crate::identity::own::OwnIdentity;
use crate::model::{AccessRequestId, SpiffeId};
use aws_lc_rs::hmac;
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, header};
use std::sync::Arc;

/// What a form's token is for.
const FORM: &str = "approve";
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// See the head of this file.
#[derive(Debug, Clone)]
pub struct Site {
    here: Endpoint,
    own: Arc<OwnIdentity>,
    key: Arc<hmac::Key>,
}

/// Why a request is not for us, or not from our page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum SiteFault {
    /// A name that is neither in the certificate nor configured.
    #[error("this host name is not one of the control plane's certificate, nor `public_url`")]
    Host,
    /// Sent by another page, or by something that does not say where it comes from.
    #[error("a form is sent from its own page: open the request's page and decide there")]
    Foreign,
}

impl Site {
    /// Reached at `here`, or by any name that the certificate is for. The key for tags lives as long as the process.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn new(here: Endpoint, own: Arc<OwnIdentity>) -> Result<Self, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Self { here, own, key: Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &key)) })
    }

    /// The page where a request is decided on.
    pub(super) fn approval_url(&self, id: AccessRequestId) -> String {
        format!("{}/approve/{id}", self.here)
    }

    /// The host and port that a request is for.
    ///
    /// # Errors
    /// [`SiteFault::Host`] if they are not ours.
    pub(super) fn host(&self, parts: &Parts) -> Result<Authority, SiteFault> {
        let named = authority(parts).ok_or(SiteFault::Host)?;
        let host = named.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        match host == self.here.host || self.own.current().is_for(&host) {
            true => Ok(named),
            false => Err(SiteFault::Host),
        }
    }

    /// That our own page sent a form, as far as the browser says so.
    ///
    /// # Errors
    /// [`SiteFault`].
    pub(super) fn own_page(&self, parts: &Parts) -> Result<(), SiteFault> {
        let own = format!("https://{}", self.host(parts)?);
        let site = single(&parts.headers, &FETCH_SITE).ok_or(SiteFault::Foreign)?;
        let origin = single(&parts.headers, &header::ORIGIN).ok_or(SiteFault::Foreign)?;
        let is_own = match (site, origin) {
            // A page with `no-referrer` sends `null`; then the browser itself says that the page is ours.
            (Some("same-origin"), None | Some("null")) => true,
            (Some("same-origin") | None, Some(origin)) => origin.eq_ignore_ascii_case(&own),
            (_, _) => false,
        };
        if is_own { Ok(()) } else { Err(SiteFault::Foreign) }
    }

    /// What a form carries along that nobody else can know: it holds for this caller and this request as it was shown.
    pub(super) fn form_token(&self, caller: &SpiffeId, hash: &str) -> String {
        self.tag(FORM, caller, hash)
    }

    /// Whether a form carries it.
    pub(super) fn is_form_token(&self, token: &str, caller: &SpiffeId, hash: &str) -> bool {
        self.is_tag(token, FORM, caller, hash)
    }

    /// What only this process can write: it holds for one purpose, one caller and one thing.
    pub(super) fn tag(&self, purpose: &'static str, caller: &SpiffeId, thing: &str) -> String {
        // No purpose and no caller can hold the separator.
        let bound = [purpose, caller.as_str(), thing].join("\n");
        let tag = hmac::sign(&self.key, bound.as_bytes());
        tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether it was written here, for just that.
    pub(super) fn is_tag(&self, tag: &str, purpose: &'static str, caller: &SpiffeId, thing: &str) -> bool {
        let own = self.tag(purpose, caller, thing);
        aws_lc_rs::constant_time::verify_slices_are_equal(own.as_bytes(), tag.as_bytes()).is_ok()
    }
}

/// HTTP/2 names the host in `:authority`; HTTP/1.1 in `Host`. Twice, or two different ones, is none.
fn authority(parts: &Parts) -> Option<Authority> {
    let named = single(&parts.headers, &header::HOST)?;
    let named = named.map(str::parse::<Authority>).transpose().ok()?;
    match (parts.uri.authority().cloned(), named) {
        (Some(one), Some(other)) if one != other => None,
        (Some(one), _) | (None, Some(one)) => (!one.as_str().contains('@')).then_some(one),
        (None, None) => None,
    }
}

/// The value of a header that may be there once; the outer none: it is repeated or no text.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<Option<&'h str>> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Some(None),
        (Some(value), None) => value.to_str().ok().map(Some),
        (Some(_), Some(_)) => None,
    }
}
