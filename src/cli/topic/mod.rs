//! `hutong topic`: topics made, listed, described, changed and deleted over the Kafka protocol.
//!
//! Nothing here is special to Hutong, so the same commands work against any Kafka.

mod alter;
mod create;
mod delete;
mod describe;
mod list;
pub(super) mod offsets;

use clap::{Args, Subcommand};
use kafka_protocol::protocol::StrBytes;

use super::client::error_name;
use super::cluster::ConnectArgs;
use super::output::printable;

/// The kind of resource that a topic is to the requests about configs.
const RESOURCE_TOPIC: i8 = 2;

/// Kafka's code for a topic that isn't there.
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;

#[derive(Debug, Args)]
#[command(long_about = "Make, show, change and delete topics, here or in any Kafka cluster.\n\n\
                  Examples:\n\n  \
                  hutong topic create orders --partitions 8 --config retention.ms=86400000\n  \
                  hutong topic list\n  \
                  hutong topic describe orders --bootstrap 10.0.0.7:9092\n  \
                  hutong topic alter orders --partitions 16\n  \
                  hutong topic delete orders")]
pub struct TopicArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(subcommand)]
    command: TopicCommand,
}

// What a command does is told where its arguments are: a comment on a variant would replace it.
#[derive(Debug, Subcommand)]
enum TopicCommand {
    Create(create::CreateArgs),
    List(list::ListArgs),
    Describe(describe::DescribeArgs),
    Alter(alter::AlterArgs),
    Delete(delete::DeleteArgs),
}

/// Runs one of the topic commands.
pub fn run(args: TopicArgs) -> anyhow::Result<()> {
    let mut cluster = args.connect.connect()?;
    match args.command {
        TopicCommand::Create(args) => create::run(&mut cluster, &args),
        TopicCommand::List(args) => list::run(&mut cluster, &args),
        TopicCommand::Describe(args) => describe::run(&mut cluster, &args),
        TopicCommand::Alter(args) => alter::run(&mut cluster, &args),
        TopicCommand::Delete(args) => delete::run(&mut cluster, &args),
    }
}

/// A setting as typed: `retention.ms=60000`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Setting {
    key: String,
    value: String,
}

impl std::str::FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Setting, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => {
                Ok(Setting { key: key.to_owned(), value: value.to_owned() })
            }
            _ => Err(format!("'{text}' is not of the form KEY=VALUE")),
        }
    }
}

/// The server's error as part of a sentence: its name, and what it says besides.
fn server_error(code: i16, message: Option<&StrBytes>) -> String {
    let name = error_name(code);
    match message.map(|message| printable(message.trim())) {
        Some(message) if !message.is_empty() => format!("{name}: {message}"),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read() {
        let read = |text: &str| text.parse::<Setting>();
        let setting = read("a.b=c=d").unwrap();
        assert_eq!((setting.key.as_str(), setting.value.as_str()), ("a.b", "c=d"));
        assert_eq!(read("a=").unwrap().value, "");
        assert!(read("=a").is_err());
        assert!(read("a").is_err());
    }

    #[test]
    fn errors_carry_name_and_message() {
        let said = StrBytes::from_static_str("It is there.");
        assert_eq!(server_error(36, Some(&said)), "TOPIC_ALREADY_EXISTS: It is there.");
        assert_eq!(server_error(36, None), "TOPIC_ALREADY_EXISTS");
        assert_eq!(server_error(9999, None), "error code 9999");
    }
}
