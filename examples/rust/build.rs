//! Asks pkg-config where the C library is; PKG_CONFIG_PATH leads it to one that is not in a system folder.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=PKG_CONFIG_PATH");
    let output =
        Command::new("pkg-config").args(["--libs", "cbprocess"]).output().expect("pkg-config cannot be run");
    assert!(
        output.status.success(),
        "pkg-config does not find cbprocess: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let flags = String::from_utf8(output.stdout).expect("pkg-config writes UTF-8");
    for flag in flags.split_whitespace() {
        if let Some(folder) = flag.strip_prefix("-L") {
            println!("cargo:rustc-link-search=native={folder}");
        } else if let Some(library) = flag.strip_prefix("-l") {
            println!("cargo:rustc-link-lib={library}");
        }
    }
}
