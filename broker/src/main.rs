//! The one binary of Sealstream: server and command line.

fn main() {}
