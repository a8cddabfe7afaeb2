//! Bytes as a ticket, behind a good seal, and as a file of secrets: nothing forged resumes, and no rule is broken.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| sealstream_transport::tls::fuzz_ticket(data));
