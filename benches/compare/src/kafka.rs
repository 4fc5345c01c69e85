//! Apache Kafka: got with Maven, and started as one process that is broker and controller.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::child::output_of;

/// Which Kafka, by the names of artifacts.
const POM: &str = include_str!("../pom.xml");
/// What Kafka's own start scripts give the JVM.
const JVM_OPTIONS: [&str; 9] = [
    "-Xmx1G",
    "-Xms1G",
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-Djava.awt.headless=true",
    "-Dlog4j2.level=WARN",
];
/// The oldest that Kafka 4's broker runs on.
const JAVA_MIN: u32 = 17;

/// Kafka's jars.
#[derive(Clone, Debug)]
pub struct Kafka {
    libs: PathBuf,
    pub java: String,
}

impl Kafka {
    /// Looks for Java, and gets the jars unless they are there.
    ///
    /// # Errors
    /// A sentence on what is missing.
    pub fn install(folder: Option<&Path>) -> anyhow::Result<Kafka> {
        let java = java_version()?;
        let folder = match (folder, std::env::var_os("HOME")) {
            (Some(folder), _) => folder.to_owned(),
            (None, Some(home)) => PathBuf::from(home).join(".cache/hutong-compare"),
            (None, None) => bail!("there is no HOME: say where to keep Kafka with --kafka-dir"),
        };
        let folder = folder.join(format!("kafka-{}", version()));
        let (libs, complete) = (folder.join("libs"), folder.join("complete"));
        if fs::read_to_string(&complete).is_ok_and(|pom| pom == POM) {
            return Ok(Kafka { libs, java });
        }
        eprintln!("getting Kafka {} with mvn", version());
        // What a broken attempt left behind must not be built upon.
        let _ = fs::remove_dir_all(&folder);
        let wrong = || format!("can't write to {}", folder.display());
        fs::create_dir_all(&folder).with_context(wrong)?;
        fs::write(folder.join("pom.xml"), POM).with_context(wrong)?;
        output_of(
            Command::new("mvn")
                .args(["--quiet", "--batch-mode", "-Dstyle.color=never", "-f"])
                .arg(folder.join("pom.xml"))
                .arg("dependency:copy-dependencies")
                .arg(format!("-DoutputDirectory={}", libs.display())),
        )
        .context("can't get Kafka")?;
        fs::write(complete, POM).with_context(wrong)?;
        Ok(Kafka { libs, java })
    }

    /// Lays out a data directory below `folder`, and says how to start a broker on it and where it
    /// will listen.
    ///
    /// # Errors
    /// A sentence: Kafka refuses, or no port is free.
    pub fn prepare(&self, folder: &Path, each_flushed: bool) -> anyhow::Result<(Command, u16)> {
        let [port, controller] = free_ports()?;
        let properties = folder.join("server.properties");
        let text = properties_of(port, controller, &folder.join("kafka"), each_flushed);
        fs::write(&properties, text)
            .with_context(|| format!("can't write {}", properties.display()))?;
        let id = output_of(self.java(&[]).args(["kafka.tools.StorageTool", "random-uuid"]))?;
        // The last line: others may come from the JVM.
        let id = id.lines().last().unwrap_or_default();
        output_of(
            self.java(&[])
                .args(["kafka.tools.StorageTool", "format", "--standalone", "-t", id, "-c"])
                .arg(&properties),
        )
        .context("can't format Kafka's directory")?;
        let mut command = self.java(&JVM_OPTIONS);
        command.arg("kafka.Kafka").arg(&properties);
        Ok((command, port))
    }

    fn java(&self, options: &[&str]) -> Command {
        let mut command = Command::new("java");
        command.args(options).arg("-cp").arg(self.libs.join("*"));
        command
    }
}

/// The version that the committed pom.xml names.
pub fn version() -> &'static str {
    let rest = POM.split_once("<artifactId>kafka_2.13</artifactId>").map_or("", |(_, rest)| rest);
    let rest = rest.split_once("<version>").map_or("", |(_, rest)| rest);
    rest.split('<').next().unwrap_or_default()
}

/// The options of the JVM, for the page.
pub fn jvm_options() -> String {
    JVM_OPTIONS.join(" ")
}

/// What is set, and nothing else: the rest is as Kafka comes.
pub fn properties_of(port: u16, controller: u16, data: &Path, each_flushed: bool) -> String {
    let mut text = format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.bootstrap.servers=127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
         controller.listener.names=CONTROLLER\n\
         log.dirs={}\n\
         offsets.topic.replication.factor=1\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n",
        data.display()
    );
    if each_flushed {
        text.push_str("log.flush.interval.messages=1\n");
    }
    text
}

/// Ports that nobody listens on, held until all are found.
fn free_ports() -> anyhow::Result<[u16; 2]> {
    let listen = || TcpListener::bind(("127.0.0.1", 0)).context("no port is free");
    let (one, other) = (listen()?, listen()?);
    Ok([one.local_addr()?.port(), other.local_addr()?.port()])
}

/// Java's version as it says it.
fn java_version() -> anyhow::Result<String> {
    let output = Command::new("java").arg("-version").output();
    let output = output.context("can't run java: Kafka needs a JDK 17 or later")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let version = said.split('"').nth(1).unwrap_or_default().to_owned();
    let major: u32 = version.split('.').next().and_then(|text| text.parse().ok()).unwrap_or(0);
    if major < JAVA_MIN {
        bail!("java is {version}: Kafka needs {JAVA_MIN} or later");
    }
    Ok(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_comes_from_the_pom() {
        assert!(version().starts_with("4."), "{}", version());
    }

    #[test]
    fn only_one_of_the_two_flushes_each_record() {
        let as_it_comes = properties_of(1, 2, Path::new("/data"), false);
        let flushed = properties_of(1, 2, Path::new("/data"), true);
        assert!(!as_it_comes.contains("flush"));
        assert_eq!(flushed, format!("{as_it_comes}log.flush.interval.messages=1\n"));
    }
}
