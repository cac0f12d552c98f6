//! Compiles `cmpool.proto`, without a system `protoc`: the server for the crate, the client for its tests, the descriptors
//! for the reflection service, and the digests by which a test knows that they belong together.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use prost::Message as _;
use sha2::{Digest as _, Sha256};

fn main() -> Result<(), Box<dyn Error>> {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let generated = proto.join("../src/rpc/generated");
    let descriptors = protox::compile(["cmpool.proto"], [&proto])?;
    fs::write(generated.join("cmpool.bin"), descriptors.encode_to_vec())?;
    for (name, is_server) in [("server.rs", true), ("client.rs", false)] {
        tonic_prost_build::configure()
            .build_server(is_server)
            .build_client(!is_server)
            .build_transport(false)
            .out_dir(&generated)
            .compile_fds(descriptors.clone())?;
        fs::rename(generated.join("cmpool.rs"), generated.join(name))?;
    }
    let mut digests = String::new();
    for file in ["../../../proto/cmpool.proto", "cmpool.bin", "server.rs", "client.rs"] {
        let digest = Sha256::digest(fs::read(generated.join(file))?);
        for byte in digest {
            write!(digests, "{byte:02x}")?;
        }
        writeln!(digests, " {file}")?;
    }
    fs::write(generated.join("digests.txt"), digests)?;
    Ok(())
}
