//! Two old men, Zhang and Li, meet in a lane, many times over, on one TCP connection.
//!
//! A meeting is six sentences, each a message of its own in a frame of `hutong::duplex`:
//!
//! ```text
//! Zhang asks     吃了没，您吶?             Have you eaten, sir?
//! Li answers     刚吃。                    Just now.
//! Li asks        您这，嘛去？              And where are you off to?
//! Zhang answers  嗨！吃饱了溜溜弯儿。      Oh, a stroll, now that I have eaten.
//! Li asks        有空家里坐坐啊。          Come and sit with us when you have time.
//! Zhang answers  回头去给老太太请安！      I'll be round to pay the old lady my respects!
//! ```
//!
//! Zhang greets without waiting for the answers to his greetings before. Li, when greeted, answers
//! and asks both his questions at once, without waiting for Zhang's answers. Nobody answers what he
//! has not heard, and each who hears checks length, serial and every word: a request's serial must
//! be the next one, an answer must belong to a request that waits for it. So many meetings are
//! under way at a time (`--in-flight`); with one, each begins when the one before is complete.
//!
//! **What the clock covers.** Before: the connection is made, Zhang says how many meetings there
//! will be, and Li agrees. Then Zhang's clock starts, before the first sentence is put into a
//! frame. When Zhang has heard and checked all that Li has to say and has answered it, he says
//! farewell; Li returns that when he has checked every answer. So when Zhang hears it, all
//! sentences of all meetings are said, heard and checked on both sides, and his clock stops: one
//! round trip later than the last sentence. Li's own clock, shown where he runs alone, goes from
//! his agreeing to his return of the farewell.
//!
//! Read in this order: `dialogue` (the words), `hello` (how they agree to meet), `zhang` and `li`
//! (who says what when, without I/O), `line` (the connection), `lane` (one process or two).

pub mod cpu;
pub mod dialogue;
pub mod hello;
pub mod lane;
pub mod li;
pub mod line;
pub mod report;
pub mod zhang;
