//! Compiles `proto/cmpool.proto`, without a system `protoc`: the server for the crate, the client for its tests, and the
//! descriptors for the reflection service.

use std::path::PathBuf;

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let descriptors = protox::compile(["cmpool.proto"], ["proto"])?;
    std::fs::write(out.join("cmpool.bin"), descriptors.encode_to_vec())?;
    for (folder, is_server) in [("server", true), ("client", false)] {
        let folder = out.join(folder);
        std::fs::create_dir_all(&folder)?;
        tonic_prost_build::configure()
            .build_server(is_server)
            .build_client(!is_server)
            .build_transport(false)
            .out_dir(folder)
            .compile_fds(descriptors.clone())?;
    }
    Ok(())
}
