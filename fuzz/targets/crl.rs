//! Bytes as a file of revocation lists and of the certificates of those who signed them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| sealstream_transport::tls::fuzz_crl(data));
