//! Bytes as an OCSP response and the chain that it is about: none passes that is stale.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| sealstream_transport::tls::fuzz_staple(data));
