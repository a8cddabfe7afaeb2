//! The in-memory backends pass the suites: bare, and with TLS.

mod bare {
    use sealstream_transport::testing::backends::MemoryFixture;

    sealstream_transport::stream_suite!(MemoryFixture::new());
}

mod sealed {
    mod stream {
        use sealstream_transport::testing::backends::SealedMemoryFixture;

        sealstream_transport::stream_suite!(SealedMemoryFixture::new());
    }

    mod security {
        use sealstream_transport::testing::backends::SealedMemoryFixture;

        sealstream_transport::security_suite!(SealedMemoryFixture::new());
    }
}
