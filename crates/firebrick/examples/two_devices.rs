//! Two devices share a shopping list through a folder that both can reach.
//!
//!     cargo run -p firebrick --example two_devices

use firebrick::{Database, Event};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize, PartialEq)]
struct Item {
    _id: String,
    litres: f64,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let place = tempfile::tempdir()?;
    let shared = format!("file://{}", place.path().join("shared").display());

    // Each device has its own database and its own keys.
    let laptop = Database::builder()
        .path(place.path().join("laptop"))
        .keybag(place.path().join("laptop-keys"))
        .open()
        .await?;
    let phone = Database::builder()
        .path(place.path().join("phone"))
        .keybag(place.path().join("phone-keys"))
        .open()
        .await?;

    // Sharing the key is what makes them replicas of one ledger. The folder never sees it.
    phone.keys().import(&laptop.keys().export()?)?;

    // Writing needs no network.
    laptop
        .put(&Item {
            _id: "milk".into(),
            litres: 2.0,
        })
        .await?;
    laptop.attach(shared.as_str())?.synced().await?;

    let mut changes = phone.subscribe();
    phone.attach(shared.as_str())?.synced().await?;
    if let Some(Event::Changes(set)) = changes.next().await.transpose()? {
        println!("the phone heard of {} change", set.changes.len());
    }
    let milk: Option<Item> = phone.get("milk").await?;
    println!("the phone has {milk:?}");
    assert_eq!(laptop.root(), phone.root());

    laptop.close().await?;
    phone.close().await?;
    Ok(())
}
