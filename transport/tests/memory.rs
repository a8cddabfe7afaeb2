//! The bare in-memory backend passes the stream suite.

mod stream {
    use sealstream_transport::testing::backends::MemoryFixture;

    sealstream_transport::stream_suite!(MemoryFixture::new());
}
