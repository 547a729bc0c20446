//! Small disks that can be filled.
//!
//! They are tmpfs mounts in a mount namespace of the test's own, which ends
//! with it: no privilege is needed where user namespaces are allowed.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

const INSIDE: &str = "REDISCUE_TEST_OWN_MOUNTS";

/// Runs the named test again inside a mount namespace. `true`: this *is* the inside, go on.
pub(crate) fn inside_own_mounts(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let itself = std::env::current_exe().unwrap();
    let run = |flags: &[&str]| {
        Command::new("unshare")
            .args(flags)
            .arg(&itself)
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(INSIDE, "1")
            .output()
            .expect("unshare is part of util-linux")
    };
    let may = |flags: &[&str]| {
        let probe = ["sh", "-c", "mount -t tmpfs -o size=64k none /mnt"];
        Command::new("unshare").args(flags).args(probe).output().is_ok_and(|tried| tried.status.success())
    };
    let ways: [&[&str]; 2] = [&["--mount"], &["--mount", "--user", "--map-root-user"]];
    let Some(way) = ways.into_iter().find(|way| may(way)) else {
        let what = "skipped: needs a mount namespace (run as root, or allow user namespaces)";
        assert!(std::env::var_os("CI").is_none(), "{what}");
        println!("{what}");
        return false;
    };
    let output = run(way);
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    false
}

/// Puts an empty disk at `dir`, with the options of tmpfs.
pub(crate) fn mount(dir: &Path, options: &str) {
    let done = Command::new("mount").args(["-t", "tmpfs", "-o", options, "none"]).arg(dir).status().unwrap();
    assert!(done.success());
}

/// Fills what is left of the disk.
pub(crate) fn fill(dir: &Path) -> PathBuf {
    use std::io::Write as _;
    let filler = dir.join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    for size in [65_536, 4_096, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
    filler
}
