//! The shapes of all requests but Produce, for the walk of `bounds`.
//!
//! As in Kafka's message definitions, only without names and defaults: what matters here is how
//! many bytes a field takes and where counts stand. Whether lengths are compact and tagged fields
//! follow is the API table's to say.

/// A struct: fields in the order of the wire, and the tagged fields the crate knows.
#[derive(Debug)]
pub(super) struct Struct {
    pub(super) fields: &'static [Field],
    pub(super) tagged: &'static [(u32, Field)],
}

/// A field and the versions that have it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) kind: Kind,
    from: i16,
    to: i16,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// So many bytes.
    Fixed(usize),
    String {
        nullable: bool,
    },
    Strings {
        nullable: bool,
    },
    Int32s,
    /// A byte string, not null.
    Bytes,
    Structs {
        element: &'static Struct,
        nullable: bool,
    },
    /// One byte, -1 for null and 1 for a struct that follows.
    OptionalStruct(&'static Struct),
    /// A struct and nothing before it: the value of a tagged field.
    Inline(&'static Struct),
}

impl Field {
    const fn new(kind: Kind) -> Field {
        Field { kind, from: 0, to: i16::MAX }
    }

    /// From this version on.
    const fn since(mut self, version: i16) -> Field {
        self.from = version;
        self
    }

    /// Up to and including this version.
    const fn until(mut self, version: i16) -> Field {
        self.to = version;
        self
    }

    pub(super) const fn is_in(&self, version: i16) -> bool {
        self.from <= version && version <= self.to
    }
}

const BOOL: Field = Field::new(Kind::Fixed(1));
const INT8: Field = Field::new(Kind::Fixed(1));
const INT16: Field = Field::new(Kind::Fixed(2));
const INT32: Field = Field::new(Kind::Fixed(4));
const INT64: Field = Field::new(Kind::Fixed(8));
const UUID: Field = Field::new(Kind::Fixed(16));
const STRING: Field = Field::new(Kind::String { nullable: false });
const NULLABLE_STRING: Field = Field::new(Kind::String { nullable: true });
const STRINGS: Field = Field::new(Kind::Strings { nullable: false });
const NULLABLE_STRINGS: Field = Field::new(Kind::Strings { nullable: true });
const INT32S: Field = Field::new(Kind::Int32s);
const BYTES: Field = Field::new(Kind::Bytes);

const fn array(element: &'static Struct) -> Field {
    Field::new(Kind::Structs { element, nullable: false })
}

const fn nullable_array(element: &'static Struct) -> Field {
    Field::new(Kind::Structs { element, nullable: true })
}

const fn fields(fields: &'static [Field]) -> Struct {
    Struct { fields, tagged: &[] }
}

/// The schema of an API's requests. `None` for Produce and for what is not offered.
pub(super) fn of(api_key: i16) -> Option<&'static Struct> {
    Some(match api_key {
        1 => &FETCH,
        2 => &LIST_OFFSETS,
        3 => &METADATA,
        8 => &OFFSET_COMMIT,
        9 => &OFFSET_FETCH,
        10 => &FIND_COORDINATOR,
        11 => &JOIN_GROUP,
        12 => &HEARTBEAT,
        13 => &LEAVE_GROUP,
        14 => &SYNC_GROUP,
        15 => &DESCRIBE_GROUPS,
        16 => &LIST_GROUPS,
        18 => &API_VERSIONS,
        19 => &CREATE_TOPICS,
        20 => &DELETE_TOPICS,
        21 => &DELETE_RECORDS,
        22 => &INIT_PRODUCER_ID,
        23 => &OFFSET_FOR_LEADER_EPOCH,
        32 => &DESCRIBE_CONFIGS,
        33 => &ALTER_CONFIGS,
        35 => &DESCRIBE_LOG_DIRS,
        37 => &CREATE_PARTITIONS,
        42 => &DELETE_GROUPS,
        44 => &INCREMENTAL_ALTER_CONFIGS,
        47 => &OFFSET_DELETE,
        55 => &DESCRIBE_QUORUM,
        60 => &DESCRIBE_CLUSTER,
        68 => &CONSUMER_GROUP_HEARTBEAT,
        69 => &CONSUMER_GROUP_DESCRIBE,
        75 => &DESCRIBE_TOPIC_PARTITIONS,
        _ => return None,
    })
}

static FETCH: Struct = Struct {
    fields: &[
        INT32.until(14),
        INT32,
        INT32,
        INT32,
        INT8,
        INT32.since(7),
        INT32.since(7),
        array(&FETCH_TOPIC),
        array(&FETCH_FORGOTTEN_TOPIC).since(7),
        STRING.since(11),
    ],
    tagged: &[
        (0, NULLABLE_STRING.since(12)),
        (1, Field::new(Kind::Inline(&FETCH_REPLICA_STATE)).since(15)),
    ],
};
static FETCH_REPLICA_STATE: Struct = fields(&[INT32, INT64]);
static FETCH_TOPIC: Struct = fields(&[STRING.until(12), UUID.since(13), array(&FETCH_PARTITION)]);
static FETCH_PARTITION: Struct =
    fields(&[INT32, INT32.since(9), INT64, INT32.since(12), INT64.since(5), INT32]);
static FETCH_FORGOTTEN_TOPIC: Struct = fields(&[STRING.until(12), UUID.since(13), INT32S]);

static LIST_OFFSETS: Struct =
    fields(&[INT32, INT8.since(2), array(&LIST_OFFSETS_TOPIC), INT32.since(10)]);
static LIST_OFFSETS_TOPIC: Struct = fields(&[STRING, array(&LIST_OFFSETS_PARTITION)]);
static LIST_OFFSETS_PARTITION: Struct = fields(&[INT32, INT32.since(4), INT64]);

static METADATA: Struct = fields(&[
    array(&METADATA_TOPIC).until(0),
    nullable_array(&METADATA_TOPIC).since(1),
    BOOL.since(4),
    BOOL.since(8).until(10),
    BOOL.since(8),
]);
static METADATA_TOPIC: Struct =
    fields(&[UUID.since(10), STRING.until(9), NULLABLE_STRING.since(10)]);

static OFFSET_COMMIT: Struct = fields(&[
    STRING,
    INT32,
    STRING,
    NULLABLE_STRING.since(7),
    INT64.until(4),
    array(&OFFSET_COMMIT_TOPIC),
]);
static OFFSET_COMMIT_TOPIC: Struct =
    fields(&[STRING.until(9), UUID.since(10), array(&OFFSET_COMMIT_PARTITION)]);
static OFFSET_COMMIT_PARTITION: Struct = fields(&[INT32, INT64, INT32.since(6), NULLABLE_STRING]);

static OFFSET_FETCH: Struct = fields(&[
    STRING.until(7),
    array(&OFFSET_FETCH_TOPIC).until(1),
    nullable_array(&OFFSET_FETCH_TOPIC).since(2).until(7),
    array(&OFFSET_FETCH_GROUP).since(8),
    BOOL.since(7),
]);
static OFFSET_FETCH_TOPIC: Struct = fields(&[STRING.until(9), UUID.since(10), INT32S]);
static OFFSET_FETCH_GROUP: Struct = fields(&[
    STRING,
    NULLABLE_STRING.since(9),
    INT32.since(9),
    nullable_array(&OFFSET_FETCH_TOPIC),
]);

static JOIN_GROUP: Struct = fields(&[
    STRING,
    INT32,
    INT32.since(1),
    STRING,
    NULLABLE_STRING.since(5),
    STRING,
    array(&JOIN_GROUP_PROTOCOL),
    NULLABLE_STRING.since(8),
]);
static JOIN_GROUP_PROTOCOL: Struct = fields(&[STRING, BYTES]);

static HEARTBEAT: Struct = fields(&[STRING, INT32, STRING, NULLABLE_STRING.since(3)]);

static LEAVE_GROUP: Struct =
    fields(&[STRING, STRING.until(2), array(&LEAVE_GROUP_MEMBER).since(3)]);
static LEAVE_GROUP_MEMBER: Struct = fields(&[STRING, NULLABLE_STRING, NULLABLE_STRING.since(5)]);

static SYNC_GROUP: Struct = fields(&[
    STRING,
    INT32,
    STRING,
    NULLABLE_STRING.since(3),
    NULLABLE_STRING.since(5),
    NULLABLE_STRING.since(5),
    array(&SYNC_GROUP_ASSIGNMENT),
]);
static SYNC_GROUP_ASSIGNMENT: Struct = fields(&[STRING, BYTES]);

static DESCRIBE_GROUPS: Struct = fields(&[STRINGS, BOOL.since(3)]);

static DELETE_GROUPS: Struct = fields(&[STRINGS]);

static OFFSET_DELETE: Struct = fields(&[STRING, array(&OFFSET_DELETE_TOPIC)]);
static OFFSET_DELETE_TOPIC: Struct = fields(&[STRING, array(&OFFSET_DELETE_PARTITION)]);
static OFFSET_DELETE_PARTITION: Struct = fields(&[INT32]);

static FIND_COORDINATOR: Struct = fields(&[STRING.until(3), INT8.since(1), STRINGS.since(4)]);

static LIST_GROUPS: Struct = fields(&[STRINGS.since(4), STRINGS.since(5)]);

static API_VERSIONS: Struct = fields(&[STRING.since(3), STRING.since(3)]);

static CREATE_TOPICS: Struct = fields(&[array(&CREATE_TOPIC), INT32, BOOL]);
static CREATE_TOPIC: Struct =
    fields(&[STRING, INT32, INT16, array(&CREATE_TOPIC_ASSIGNMENT), array(&CONFIG_WITH_VALUE)]);
static CREATE_TOPIC_ASSIGNMENT: Struct = fields(&[INT32, INT32S]);
static CONFIG_WITH_VALUE: Struct = fields(&[STRING, NULLABLE_STRING]);

static DELETE_TOPICS: Struct = fields(&[array(&DELETE_TOPIC).since(6), STRINGS.until(5), INT32]);
static DELETE_TOPIC: Struct = fields(&[NULLABLE_STRING, UUID]);

static DELETE_RECORDS: Struct = fields(&[array(&DELETE_RECORDS_TOPIC), INT32]);
static DELETE_RECORDS_TOPIC: Struct = fields(&[STRING, array(&DELETE_RECORDS_PARTITION)]);
static DELETE_RECORDS_PARTITION: Struct = fields(&[INT32, INT64]);

static INIT_PRODUCER_ID: Struct = fields(&[NULLABLE_STRING, INT32, INT64.since(3), INT16.since(3)]);

static OFFSET_FOR_LEADER_EPOCH: Struct = fields(&[INT32.since(3), array(&OFFSET_FOR_TOPIC)]);
static OFFSET_FOR_TOPIC: Struct = fields(&[STRING, array(&OFFSET_FOR_PARTITION)]);
static OFFSET_FOR_PARTITION: Struct = fields(&[INT32, INT32, INT32]);

static DESCRIBE_CONFIGS: Struct = fields(&[array(&DESCRIBE_CONFIGS_RESOURCE), BOOL, BOOL.since(3)]);
static DESCRIBE_CONFIGS_RESOURCE: Struct = fields(&[INT8, STRING, NULLABLE_STRINGS]);

static ALTER_CONFIGS: Struct = fields(&[array(&ALTER_CONFIGS_RESOURCE), BOOL]);
static ALTER_CONFIGS_RESOURCE: Struct = fields(&[INT8, STRING, array(&CONFIG_WITH_VALUE)]);

static DESCRIBE_LOG_DIRS: Struct = fields(&[nullable_array(&DESCRIBE_LOG_DIRS_TOPIC)]);
static DESCRIBE_LOG_DIRS_TOPIC: Struct = fields(&[STRING, INT32S]);

static CREATE_PARTITIONS: Struct = fields(&[array(&CREATE_PARTITIONS_TOPIC), INT32, BOOL]);
static CREATE_PARTITIONS_TOPIC: Struct =
    fields(&[STRING, INT32, nullable_array(&CREATE_PARTITIONS_ASSIGNMENT)]);
static CREATE_PARTITIONS_ASSIGNMENT: Struct = fields(&[INT32S]);

static INCREMENTAL_ALTER_CONFIGS: Struct = fields(&[array(&INCREMENTAL_RESOURCE), BOOL]);
static INCREMENTAL_RESOURCE: Struct = fields(&[INT8, STRING, array(&INCREMENTAL_CONFIG)]);
static INCREMENTAL_CONFIG: Struct = fields(&[STRING, INT8, NULLABLE_STRING]);

static DESCRIBE_QUORUM: Struct = fields(&[array(&DESCRIBE_QUORUM_TOPIC)]);
static DESCRIBE_QUORUM_TOPIC: Struct = fields(&[STRING, array(&DESCRIBE_QUORUM_PARTITION)]);
static DESCRIBE_QUORUM_PARTITION: Struct = fields(&[INT32]);

static DESCRIBE_CLUSTER: Struct = fields(&[BOOL, INT8.since(1), BOOL.since(2)]);

static CONSUMER_GROUP_HEARTBEAT: Struct = fields(&[
    STRING,
    STRING,
    INT32,
    NULLABLE_STRING,
    NULLABLE_STRING,
    INT32,
    NULLABLE_STRINGS,
    NULLABLE_STRING.since(1),
    NULLABLE_STRING,
    nullable_array(&CONSUMER_GROUP_TOPIC),
]);
static CONSUMER_GROUP_TOPIC: Struct = fields(&[UUID, INT32S]);

static CONSUMER_GROUP_DESCRIBE: Struct = fields(&[STRINGS, BOOL]);

static DESCRIBE_TOPIC_PARTITIONS: Struct =
    fields(&[array(&DESCRIBED_TOPIC), INT32, Field::new(Kind::OptionalStruct(&DESCRIBE_CURSOR))]);
static DESCRIBED_TOPIC: Struct = fields(&[STRING]);
static DESCRIBE_CURSOR: Struct = fields(&[STRING, INT32]);
