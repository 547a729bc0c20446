//! Lists `commands/*.toml` and `commands/runbooks/*.toml`, so that a new command needs a file and nothing else.

use std::{env, fmt::Write as _, fs, path::Path};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=commands");
    list("commands", "commands.rs")?;
    list("commands/runbooks", "runbooks.rs")
}

/// The TOML files of a directory, by name, with their texts.
fn list(dir: &str, out: &str) -> Result<(), Box<dyn std::error::Error>> {
    let root = env::var("CARGO_MANIFEST_DIR")?;
    let mut names = Vec::new();
    for entry in fs::read_dir(Path::new(&root).join(dir))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".toml") {
            names.push(name);
        }
    }
    names.sort();
    let mut list = String::from("&[\n");
    for name in names {
        println!("cargo::rerun-if-changed={dir}/{name}");
        writeln!(list, "    ({name:?}, include_str!({:?})),", format!("{root}/{dir}/{name}"))?;
    }
    list.push_str("]\n");
    fs::write(Path::new(&env::var("OUT_DIR")?).join(out), list)?;
    Ok(())
}
