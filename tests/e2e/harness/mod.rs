//! What the tests stand on: a [`world::World`] of real processes, the certificates they use, an upstream that tells what it received,
//! and clients that speak well and badly.

mod address;
pub(crate) mod asking;
pub(crate) mod browser;
pub(crate) mod client;
pub(crate) mod clients;
pub(crate) mod form;
pub(crate) mod idp;
pub(crate) mod pki;
pub(crate) mod raw;
pub(crate) mod receivers;
pub(crate) mod recorder;
pub(crate) mod scripted;
pub(crate) mod shared;
pub(crate) mod stub;
pub(crate) mod tools;
pub(crate) mod upstream;
pub(crate) mod wait;
pub(crate) mod witness;
pub(crate) mod world;

pub(crate) use asking::{asked, because, id, with};
pub(crate) use client::{Answer, Client, Protocol};
pub(crate) use stub::Stub;
pub(crate) use wait::{eventually, within};
pub(crate) use world::{Setup, World};
