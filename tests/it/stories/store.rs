//! The store, with a real disk.

use rediscue::store::{Store, StoreError, StoreSettings};

#[tokio::test]
async fn a_second_bot_on_one_store_is_refused_and_told_who_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let first = Store::open(StoreSettings::in_dir(dir.path())).await.unwrap();
    let refused = Store::open(StoreSettings::in_dir(dir.path())).await.unwrap_err();
    assert!(matches!(&refused, StoreError::InUse { holder, .. } if *holder == format!("pid {}", std::process::id())));
    first.close().await;
    Store::open(StoreSettings::in_dir(dir.path())).await.expect("the lock ends with the store");
}
