//! The terminal: a frame is drawn over the one before, cut to what there is room for.

use nix::libc;

/// The text, and what makes the terminal show it in the place of the last frame.
pub fn frame(text: &str) -> String {
    let (rows, columns) = size();
    let lines: Vec<&str> = text.lines().collect();
    let mut frame = "\x1b[H".to_string();
    let room = rows.saturating_sub(1);
    let (shown, hint) = if lines.len() > room {
        (&lines[..room.saturating_sub(1)], true)
    } else {
        (&lines[..], false)
    };
    for line in shown {
        frame.extend(line.chars().take(columns));
        // Clears what the last frame left behind in this line.
        frame.push_str("\x1b[K\n");
    }
    if hint {
        frame.push_str(&format!("... {} more lines\x1b[K\n", lines.len() - shown.len()));
    }
    frame.push_str("\x1b[J");
    frame
}

/// Rows and columns of the terminal that standard output is.
fn size() -> (usize, usize) {
    // SAFETY: all zeros is a valid value, and the kernel fills in what we own.
    let (answer, size) = unsafe {
        let mut size: libc::winsize = std::mem::zeroed();
        let answer = libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size);
        (answer, size)
    };
    if answer != 0 || size.ws_row == 0 || size.ws_col == 0 {
        return (24, 80);
    }
    (usize::from(size.ws_row), usize::from(size.ws_col))
}
