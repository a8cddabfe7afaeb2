//! QUIC passes the suites.

mod stream {
    use sealstream_transport::testing::backends::QuicFixture;

    sealstream_transport::stream_suite!(QuicFixture::new());
}

mod security {
    use sealstream_transport::testing::backends::QuicFixture;

    sealstream_transport::security_suite!(QuicFixture::new());
}
