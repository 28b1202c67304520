//! Prints every push of a device and acks it, until Ctrl-C or until the gateway ends it for good.
//!
//! `cargo run --example listen -- localhost:7443 certs/ca.pem TOKEN [TOPIC...]`

use pushline::client::{Client, Error, Options};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(roots), Some(token)) = (arguments.next(), arguments.next(), arguments.next()) else {
        anyhow::bail!("usage: listen HOST:PORT ROOTS.pem TOKEN [TOPIC...]");
    };
    let mut client = Client::connect(Options::new(address, std::fs::read(roots)?, token)).await?;
    let topics: Vec<String> = arguments.collect();
    if !topics.is_empty() {
        client.subscribe(&topics).await?;
    }
    loop {
        tokio::select! {
            push = client.next() => match push {
                Some(push) => {
                    let push = push?;
                    println!("{} attempt {}: {}", push.id, push.attempt, String::from_utf8_lossy(&push.payload));
                    push.ack();
                }
                None => return Ok(()),
            },
            _ = tokio::signal::ctrl_c() => {
                return match client.close().await {
                    // The last acks may not have arrived; those pushes come again next time.
                    Err(Error::Unconfirmed) | Ok(()) => Ok(()),
                    Err(why) => Err(why.into()),
                };
            }
        }
    }
}
