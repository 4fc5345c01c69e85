//! Memory that is used again, as the runtime's DMA buffers are: a page that isn't needed any more
//! becomes the next one.

use std::cell::RefCell;
use std::rc::Rc;

use hutong::journal::page::Page;

thread_local! {
    static FREE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

#[derive(Clone)]
pub struct BenchPage(Rc<Buffer>);

struct Buffer {
    memory: Vec<u8>,
    bytes: usize,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        FREE.with_borrow_mut(|free| free.push(memory));
    }
}

impl Page for BenchPage {
    fn build(bytes: usize, fill: impl FnOnce(&mut [u8])) -> Self {
        let reused = FREE.with_borrow_mut(Vec::pop);
        let mut memory = reused.unwrap_or_default();
        if memory.len() < bytes {
            memory.resize(bytes.next_power_of_two(), 0);
        }
        fill(&mut memory[..bytes]);
        BenchPage(Rc::new(Buffer { memory, bytes }))
    }

    fn bytes(&self) -> &[u8] {
        &self.0.memory[..self.0.bytes]
    }
}
