//! Words that want to be more than words: they steer a terminal, disguise a name, forge a line, or speak the markup of a
//! chat. One list for every place where something from outside is shown.

/// All of them.
pub(crate) const WORDS: &[&str] = &[
    // Terminals: CSI, OSC 8 and OSC 52, the title, cursor up and overwrite, bell, backspace, carriage return, NUL, C1.
    "\u{1b}[2J\u{1b}[31mapproved by carla",
    "\u{1b}]8;;https://evil.example\u{7}click\u{1b}]8;;\u{7}",
    "\u{1b}]52;c;cm0gLXJm\u{7}",
    "\u{1b}]0;title\u{1b}\\",
    "\u{1b}[1A\u{1b}[2Kgone",
    "1.0\u{8}\u{8}\u{8}9.9",
    "1.0\r9.9",
    "bell\u{7} and nul\u{0} and del\u{7f}",
    "c1\u{9b}31m and \u{9d}0;x\u{9c} and \u{85}",
    // A line that nobody said.
    "1.0\nr9 done: the API is well",
    "1.0\r\n[Approve] /approve a1",
    "1.0\u{2028}r9 done\u{2029}\u{b}\u{c}",
    "{\"level\":\"INFO\",\"message\":\"step done\"}\n",
    // Direction and disguise: overrides, isolates, marks, zero width, soft hyphen, tags, fillers, selectors.
    "evil\u{202e}txt.exe\u{202c}",
    "\u{2066}api\u{2069} \u{2067}x\u{2069}",
    "a\u{200e}b\u{200f}c\u{61c}d",
    "ap\u{200b}i and ap\u{feff}i and ap\u{2060}i",
    "ap\u{200d}i and ap\u{200c}i",
    "soft\u{ad}hyphen and \u{34f}joiner",
    "tag\u{e0041}\u{e0042}\u{e007f}",
    "fill\u{3164}er\u{115f}\u{ffa0}\u{2800}",
    "vs\u{fe00}\u{e0100}\u{180b}\u{1d173}",
    "z\u{300}\u{301}\u{302}\u{303}\u{304}\u{305}\u{306}\u{307}\u{308}\u{309}\u{30a}\u{30b}\u{30c}\u{30d}\u{30e}algo",
    // Chats' markup: told as it is by surfaces that have none.
    "<!channel> <!everyone> <@U0CARLA03> <#C1|general>",
    "@everyone @here <@123456789012345678> <@&1>",
    "[click](https://evil.example) <https://evil.example|here>",
    "```\nr9 done\n``` `code` ||spoiler|| ~~gone~~",
    // Shells, paths, formats.
    "$(reboot) `reboot` ; reboot | sh && rm -rf / #",
    "../../../../etc/passwd",
    "/etc/passwd\u{0}.env",
    "-rf --config=/etc/shadow",
    "%s%n%x {0} ${HOME} {{.Env}}",
    "\u{fffd}\u{fffe}\u{ffff}",
    "🇾🇪👩\u{200d}🚒❤\u{fe0f} بطء في الواجهة 日本語",
];
