//! Bytes as a file of certificates and as one of a key: each is read or refused, and no message repeats what the file holds.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| sealstream_transport::tls::fuzz_pem(data));
