//! TLS over TCP passes the suites.

mod stream {
    use sealstream_transport::testing::backends::TcpFixture;

    sealstream_transport::stream_suite!(TcpFixture::new());
}

mod security {
    use sealstream_transport::testing::backends::TcpFixture;

    sealstream_transport::security_suite!(TcpFixture::new());
}
