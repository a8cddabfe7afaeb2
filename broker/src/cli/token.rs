//! `token create|list|revoke`.

use jiff::Timestamp;
use sealstream_client::Client;
use sealstream_client::admin::{NewToken, Token, TokenCreated};
use serde_json::{Value, json};

use super::args::{TokenCommand, TokenCreate};
use super::connect::{SHORT, with_client};
use super::{Failure, output};

/// Carries out a token command.
pub(super) fn run(command: &TokenCommand) -> Result<(), Failure> {
    if let TokenCommand::Create(_) = command {
        output::demand_stdout()?;
    }
    let connection = command.connection();
    with_client(connection, SHORT, |client| carry_out(client, command, connection.json))
}

async fn carry_out(client: Client, command: &TokenCommand, json: bool) -> Result<(), Failure> {
    let admin = client.admin();
    match command {
        TokenCommand::Create(args) => {
            let created = admin.create_token(new_token(args)).await?;
            show_new(&created, json).map_err(|failure| lost(&created.token.name, &failure))
        }
        TokenCommand::List(_) => list(&admin.list_tokens().await?, json),
        TokenCommand::Revoke(args) => {
            let token = admin.revoke_token(&args.name).await?;
            if json {
                return output::json(&json!({ "revoked": token.name, "id": token.id.to_string() }));
            }
            output::line(format_args!("revoked {}: its sessions end within a second", token.name))
        }
    }
}

fn new_token(args: &TokenCreate) -> NewToken {
    let mut token = NewToken::new(&args.name);
    if let Some(identity) = &args.identity {
        token = token.identity(identity);
    }
    match args.expires {
        Some(lifetime) => token.lifetime(lifetime.0),
        None => token,
    }
}

/// The secret alone goes to stdout, so that it can be put into a file.
fn show_new(created: &TokenCreated, json: bool) -> Result<(), Failure> {
    let TokenCreated { token, secret } = created;
    if json {
        let mut value = as_json(token);
        value["token"] = secret.0.clone().into();
        return output::json(&value);
    }
    output::line(&secret.0)?;
    let end = token
        .expires_ms
        .map_or("good until it is revoked".into(), |end| format!("good until {}", output::time(end)));
    let (name, identity) = (&token.name, &token.identity);
    output::note(format_args!(
        "token {name} for {identity}, {end}. It is not shown again: keep it where only its bearer reads it"
    ));
    Ok(())
}

/// A token whose secret nobody has. Not even a reader that has gone away is a success here.
fn lost(name: &str, failure: &Failure) -> Failure {
    Failure::new(format!(
        "{failure}: token {name} was made, and its secret is lost: `sealstream token revoke {name}`"
    ))
}

fn list(tokens: &[Token], json: bool) -> Result<(), Failure> {
    if json {
        return tokens.iter().try_for_each(|token| output::json(&as_json(token)));
    }
    if tokens.is_empty() {
        output::note("no tokens: make one with `sealstream token create NAME`");
        return Ok(());
    }
    let now = Timestamp::now().as_millisecond();
    let heading = ["TOKEN", "IDENTITY", "CREATED", "BY", "EXPIRES", "LAST USED"].map(str::to_owned).to_vec();
    let rows = tokens.iter().map(|token| {
        vec![
            token.name.clone(),
            token.identity.clone(),
            output::time(token.created_ms),
            token.created_by.clone(),
            expiry(token, now),
            token.last_used_ms.map_or("not since the start".into(), output::time),
        ]
    });
    output::table(&std::iter::once(heading).chain(rows).collect::<Vec<_>>())
}

fn expiry(token: &Token, now: i64) -> String {
    match token.expires_ms {
        None => "never".into(),
        Some(end) if end <= now => format!("ended {}", output::time(end)),
        Some(end) => output::time(end),
    }
}

fn as_json(token: &Token) -> Value {
    json!({
        "name": token.name, "id": token.id.to_string(), "identity": token.identity,
        "created_by": token.created_by, "created_ms": token.created_ms, "expires_ms": token.expires_ms,
        "last_used_ms": token.last_used_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_whether_it_has_ended() {
        let mut token = Token {
            name: "a".into(),
            id: uuid::Uuid::nil(),
            identity: "token:a".into(),
            created_by: "anonymous".into(),
            created_ms: 0,
            expires_ms: None,
            last_used_ms: None,
        };
        assert_eq!(expiry(&token, 1), "never");
        token.expires_ms = Some(1000);
        assert_eq!(expiry(&token, 999), "1970-01-01T00:00:01Z");
        assert_eq!(expiry(&token, 1000), "ended 1970-01-01T00:00:01Z");
    }
}
