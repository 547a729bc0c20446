//! A session at the console: reads lines, prints what is said about them.

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
    time::Duration,
};

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{
    Completions, Link,
    editor::{self, Entry, Lines, Modes},
    render::Style,
    screen::{Screen, Sink},
    typed::{self, Typed, Which},
    wire::{FromBot, ToBot},
};

/// How long the prompt waits for an answer that is about to come, so that a
/// quick one stands under its question.
const PROMPT_WAITS: Duration = Duration::from_millis(300);

/// What is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Output {
    /// Cards for people.
    #[default]
    Text,
    /// One line of JSON for every message, edit, reaction and file.
    Json,
}

/// Where lines come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// A person at a terminal: prompt, history, completion.
    Terminal,
    /// A pipe or a file: lines run in order, each answered before the next is sent.
    Lines,
}

/// How a session is held.
#[derive(Debug, Clone)]
pub struct Options {
    /// What is printed.
    pub output: Output,
    /// Where lines come from.
    pub input: Input,
    /// How cards look.
    pub style: Style,
    /// Said first, to a person at a terminal.
    pub greeting: Option<String>,
    /// A script's line that is not answered within this is given up.
    pub answer_within: Duration,
}

impl Options {
    /// As standard input and output are: colour only on a terminal, and not where `NO_COLOR` asks for none.
    pub fn of_this_process(output: Output) -> Self {
        let terminal_out = io::stdout().is_terminal();
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        let interactive = terminal_out && io::stdin().is_terminal() && output == Output::Text;
        Self {
            output,
            input: if interactive { Input::Terminal } else { Input::Lines },
            style: Style {
                colour: terminal_out && !set("NO_COLOR") && !dumb,
                width: columns.unwrap_or(Style::PIPED.width),
            },
            greeting: None,
            answer_within: Duration::from_secs(300),
        }
    }
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ended {
    /// Lines of a script that were not answered: number, text, why.
    pub unanswered: Vec<(u64, String, String)>,
    /// The bot went away.
    pub bot_gone: bool,
    /// The program was told to stop before the lines ended.
    pub stopped: bool,
}

impl Ended {
    /// 0 when every line was answered, else 1.
    pub fn exit_code(&self) -> ExitCode {
        if self.unanswered.is_empty() && !self.bot_gone && !self.stopped {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

/// Holds a session until its lines end, somebody leaves, `stop` is cancelled
/// or the bot goes. Says on standard error which line was not answered.
pub async fn run(options: Options, mut link: Link, stop: CancellationToken) -> Ended {
    let completions = match link.from_bot.recv().await {
        Some(FromBot::Hello { user, completions, .. }) => (user, completions),
        Some(FromBot::Refused { why, .. }) => {
            complain(&why);
            return Ended { bot_gone: true, ..Ended::default() };
        }
        _ => (String::new(), Completions::default()),
    };
    let (user, completions) = completions;
    let modes = (options.input == Input::Terminal).then(Modes::save);
    let people = completions.people.clone();
    let opened = match options.input {
        Input::Lines => Ok((editor::piped(), Sink::Stdout, None)),
        Input::Terminal => editor::edited(completions, editor::history_file().as_deref())
            .map(|(lines, sink, size)| (lines, sink, Some(size))),
    };
    let (lines, sink, size) = match opened {
        Ok(opened) => opened,
        // A terminal that cannot be edited on (`TERM=dumb`) can still be read line by line.
        Err(error) => {
            tracing::debug!(%error, "no line editor");
            (editor::piped(), Sink::Stdout, None)
        }
    };
    let rows = size.as_ref().and_then(|size| size.get()).map(|(_, rows)| rows);
    let mut session = Session {
        screen: Screen::new(options.output, options.style, rows, sink),
        size,
        speaker: (!people.is_empty()).then(|| user.clone()),
        user,
        people,
        script: options.input == Input::Lines,
        line: 0,
        waiting: None,
        interrupted: false,
        prompted: false,
        ended: Ended::default(),
        answer_within: options.answer_within,
    };
    if let (Some(greeting), Input::Terminal) = (&options.greeting, options.input) {
        let _ = session.screen.say(greeting);
    }
    session.hold(lines, &mut link, &stop).await;
    if let Some(modes) = modes {
        drop(modes);
        // Pasting with marks was switched on by the editor; and the prompt may still stand there.
        let end: &[u8] = if session.prompted { b"\x1b[?2004l\r\n" } else { b"\x1b[?2004l" };
        let _ = io::stdout().lock().write_all(end);
    }
    for (line, text, why) in &session.ended.unanswered {
        complain(&format!("line {line} was not answered: {}: {}", super::clean(text), super::clean(why)));
    }
    session.ended
}

fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "rediscue: {text}");
}

struct Waiting {
    line: u64,
    text: String,
    until: Instant,
}

struct Session {
    screen: Screen,
    size: Option<std::sync::Arc<editor::Size>>,
    /// Whom the bot takes us for.
    user: String,
    /// Who speaks now, where that can be chosen.
    speaker: Option<String>,
    people: Vec<String>,
    script: bool,
    line: u64,
    /// The line whose answer the next line or prompt waits for.
    waiting: Option<Waiting>,
    interrupted: bool,
    /// A prompt is shown.
    prompted: bool,
    ended: Ended,
    answer_within: Duration,
}

/// Whether to go on.
#[derive(PartialEq, Eq)]
enum Go {
    On,
    Out,
}

impl Session {
    async fn hold(&mut self, mut lines: Lines, link: &mut Link, stop: &CancellationToken) {
        loop {
            if !self.prompted && self.waiting.is_none() {
                lines.ask(self.prompt());
                self.prompted = true;
            }
            let until = self.waiting.as_ref().map(|waiting| waiting.until);
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    // What has been said already is still worth reading.
                    while let Ok(event) = link.from_bot.try_recv() {
                        let _ = self.hear(&event);
                    }
                    self.give_up("the program was told to stop");
                    self.ended.stopped = self.script;
                    return;
                }
                event = link.from_bot.recv() => {
                    let Some(event) = event else {
                        self.give_up("the bot has gone");
                        self.ended.bot_gone = true;
                        if !self.script {
                            complain("the bot has gone");
                        }
                        return;
                    };
                    if self.hear(&event).is_err() {
                        self.give_up("its answer could not be printed");
                        self.ended.bot_gone = true;
                        return;
                    }
                }
                entry = lines.next(), if self.prompted && self.waiting.is_none() => {
                    self.prompted = false;
                    if self.take(entry, link).await == Go::Out {
                        return;
                    }
                }
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {
                    if self.script {
                        self.give_up(&format!("no end of the answer within {} s", self.answer_within.as_secs()));
                    }
                    self.waiting = None;
                }
            }
        }
    }

    fn prompt(&self) -> String {
        format!("{}> ", self.speaker.as_ref().unwrap_or(&self.user))
    }

    fn give_up(&mut self, why: &str) {
        if let Some(waiting) = self.waiting.take()
            && self.script
        {
            self.ended.unanswered.push((waiting.line, waiting.text, why.to_owned()));
        }
    }

    fn hear(&mut self, event: &FromBot) -> io::Result<()> {
        if let Some((columns, rows)) = self.size.as_ref().and_then(|size| size.get()) {
            self.screen.style.width = columns;
            self.screen.rows = Some(rows);
        }
        match event {
            FromBot::Settled { line } => {
                if self.waiting.as_ref().is_some_and(|waiting| waiting.line == *line) {
                    self.waiting = None;
                }
                Ok(())
            }
            FromBot::Refused { line, why } => {
                let ours = line.is_none() || self.waiting.as_ref().map(|waiting| waiting.line) == *line;
                if ours && self.script {
                    self.give_up(why);
                    return Ok(());
                }
                if ours {
                    self.waiting = None;
                }
                self.screen.say(&super::clean(why))
            }
            _ => self.screen.show(event),
        }
    }

    /// One line of input.
    async fn take(&mut self, entry: Entry, link: &Link) -> Go {
        self.screen.disturbed();
        let text = match entry {
            Entry::Line(text) => text,
            Entry::End => return Go::Out,
            Entry::Broken(why) => {
                complain(&format!("lines cannot be read any more: {why}"));
                self.ended.unanswered.push((self.line + 1, String::new(), why));
                return Go::Out;
            }
            Entry::Interrupted if self.interrupted => return Go::Out,
            Entry::Interrupted => {
                self.interrupted = true;
                let _ = self.screen.say("Ctrl-C again, Ctrl-D or `exit` leaves");
                return Go::On;
            }
        };
        self.interrupted = false;
        self.line += 1;
        let line = self.line;
        let speaker = self.speaker.clone();
        let message = match self.shortcut(typed::read(&text)) {
            Typed::Nothing => return Go::On,
            Typed::Quit => return Go::Out,
            Typed::Help => {
                let _ = self.screen.say(typed::HELP);
                return Go::On;
            }
            Typed::Wrong(why) => return self.wrong(text, why),
            Typed::As(person) => return self.speak_as(text, person),
            Typed::Command(text) => ToBot::Command { line, speaker, text },
            Typed::React { emoji, message, added } => match self.meant(&message) {
                Ok(id) => ToBot::React { line, speaker, id, emoji, added },
                Err(why) => return self.wrong(text, why),
            },
            Typed::Press { button, message } => match self.button(&button, &message) {
                Ok((id, command)) => ToBot::Press { line, speaker, id, command },
                Err(why) => return self.wrong(text, why),
            },
        };
        let patience = if self.script { self.answer_within } else { PROMPT_WAITS };
        self.waiting = Some(Waiting { line, text, until: Instant::now() + patience });
        if link.to_bot.send(message).await.is_err() {
            self.give_up("the bot has gone");
        }
        Go::On
    }

    /// A bare number presses that button of the latest message.
    fn shortcut(&self, typed: Typed) -> Typed {
        match typed {
            Typed::Command(number) if number.parse::<usize>().is_ok() && self.button(&number, &Which::Last).is_ok() => {
                Typed::Press { button: number, message: Which::Last }
            }
            typed => typed,
        }
    }

    fn wrong(&mut self, text: String, why: String) -> Go {
        if self.script {
            self.ended.unanswered.push((self.line, text, why));
        } else {
            let _ = self.screen.say(&super::clean(&why));
        }
        Go::On
    }

    fn speak_as(&mut self, text: String, person: String) -> Go {
        if self.people.is_empty() {
            return self.wrong(text, "you speak as yourself here; `:as` works in `rediscue try` only".to_owned());
        }
        if !self.people.contains(&person) {
            let why = format!("nobody here is called {person}; there are {}", self.people.join(" and "));
            return self.wrong(text, why);
        }
        self.speaker = Some(person);
        Go::On
    }

    fn meant(&self, message: &Which) -> Result<String, String> {
        match message {
            Which::Last => self.screen.last().map(str::to_owned).ok_or_else(|| "nothing has been said yet".to_owned()),
            Which::Id(id) if self.screen.card(id).is_some() => Ok(id.clone()),
            Which::Id(id) => Err(format!("there is no message {id} here")),
        }
    }

    fn button(&self, button: &str, message: &Which) -> Result<(String, String), String> {
        let id = self.meant(message)?;
        let actions = self.screen.card(&id).map(|card| card.actions.as_slice()).unwrap_or_default();
        let by_number = button.parse::<usize>().ok().and_then(|number| actions.get(number.checked_sub(1)?));
        let by_label = actions.iter().find(|action| action.label.eq_ignore_ascii_case(button));
        match by_label.or(by_number) {
            Some(action) => Ok((id, action.command.clone())),
            None if actions.is_empty() => Err(format!("{id} has no buttons")),
            None => {
                let labels: Vec<String> = actions.iter().map(|action| format!("\"{}\"", action.label)).collect();
                Err(format!("{id} has no button \"{button}\"; it has {}", labels.join(", ")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::mpsc;

    use super::*;
    use crate::{
        chat::{
            Audience, Event, Gateway, Inbound,
            console::{Console, Peer, Who},
        },
        model::{Action, ActionStyle, Block, Card, Progress},
    };

    fn card(title: &str) -> Card {
        let action = |label: &str, command: &str| Action {
            label: label.to_owned(),
            command: command.to_owned(),
            style: ActionStyle::Plain,
        };
        Card { title: title.to_owned(), actions: vec![action("Show more", "more")], ..Card::default() }
    }

    fn progress(done: u64) -> Card {
        let doing = Progress {
            doing: "counting".to_owned(),
            done,
            total: Some(100),
            unit: "keys".to_owned(),
            rate: None,
            left_s: None,
        };
        Card { title: "count".to_owned(), blocks: vec![Block::Progress(doing)], ..Card::default() }
    }

    /// A bot that repeats what it hears, in as many messages as it is asked for.
    async fn parrot(console: Arc<Console>, mut inbox: mpsc::Receiver<Inbound>) -> Vec<String> {
        let mut heard = Vec::new();
        while let Some(inbound) = inbox.recv().await {
            let person = inbound.person.as_ref().map_or("?", |person| person.as_str());
            let say = match &inbound.what {
                Event::Command { text, .. } => format!("{person}: {text}"),
                Event::Pressed { command, .. } => format!("{person} pressed {command}"),
                Event::AtTheMachine(done) => format!("{person} did {}", done.command),
                Event::Reacted { emoji, added, message } => {
                    let id = message.id.split('.').next().unwrap_or_default();
                    format!("{person} {} {emoji} on {id}", if *added { "put" } else { "took" })
                }
            };
            heard.push(say.clone());
            if say.contains("silence") {
                continue;
            }
            let said = console.say(&inbound.place, &card(&say), &Audience::All, "key").await.unwrap();
            if say.contains("count") {
                for done in [10, 20, 30] {
                    console.edit(&said, &progress(done)).await.unwrap();
                }
                console.edit(&said, &card("counted")).await.unwrap();
            }
            console.settled(&inbound.event);
        }
        heard
    }

    async fn session(output: Output, lines: &[&str]) -> (String, Ended, Vec<String>) {
        let console = Console::new("testhost");
        let (inbound, inbox) = mpsc::channel(16);
        let people = vec!["ana".parse().unwrap(), "bo".parse().unwrap()];
        let mut link = console.attach(Peer { who: Who::People(people), script: true }, inbound);
        let bot = tokio::spawn(parrot(console, inbox));
        let hello = link.from_bot.recv().await.unwrap();
        assert!(matches!(&hello, FromBot::Hello { user, .. } if user == "ana"));
        let mut session = Session {
            screen: Screen::new(output, Style::PIPED, None, Sink::Kept(String::new())),
            size: None,
            user: "ana".to_owned(),
            speaker: Some("ana".to_owned()),
            people: vec!["ana".to_owned(), "bo".to_owned()],
            script: true,
            line: 0,
            waiting: None,
            interrupted: false,
            prompted: false,
            ended: Ended::default(),
            answer_within: Duration::from_millis(200),
        };
        session.hold(editor::scripted(lines), &mut link, &CancellationToken::new()).await;
        drop(link);
        let Sink::Kept(printed) = session.screen.sink else { unreachable!("the sink was given above") };
        (printed, session.ended, bot.await.unwrap())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn lines_run_in_order_and_each_is_answered() {
        let lines = ["/redis one", "two", ":as bo", "three", ":react ✅ m1", ":unreact ✅ m1", ":press 1 last", "1"];
        let (printed, ended, heard) = session(Output::Text, &lines).await;
        assert_eq!(ended, Ended::default());
        let expected = [
            "ana: one",
            "ana: two",
            "bo: three",
            "bo put ✅ on m1",
            "bo took ✅ on m1",
            "bo pressed more",
            "bo pressed more",
        ];
        assert_eq!(heard, expected);
        assert!(printed.contains("m3  bo: three\n\n    [1] Show more → /redis more\n"), "{printed}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_line_without_an_answer_is_named() {
        let lines = ["one", "silence", "two", ":as cy", ":press Undo m1", ":react ✅ m9"];
        let (_, ended, heard) = session(Output::Text, &lines).await;
        assert_eq!(heard, ["ana: one", "ana: silence", "ana: two"]);
        let named: Vec<(u64, &str)> = ended.unanswered.iter().map(|(line, text, _)| (*line, text.as_str())).collect();
        assert_eq!(named, [(2, "silence"), (4, ":as cy"), (5, ":press Undo m1"), (6, ":react ✅ m9")]);
        assert!(ended.unanswered[2].2.contains("it has \"Show more\""), "{:?}", ended.unanswered);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_run_under_way_is_one_line_now_and_then_when_piped() {
        let (printed, ..) = session(Output::Text, &["count"]).await;
        assert_eq!(printed.matches("counting").count(), 1, "{printed}");
        assert!(printed.contains("m1  counting: 10 %, 10 of 100 keys\n"), "{printed}");
        assert!(printed.contains("m1 (now)  counted\n"), "{printed}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn json_has_a_line_for_every_message_and_edit() {
        let (printed, ended, _) = session(Output::Json, &["count", ":help", "\u{202e}x"]).await;
        assert_eq!(ended, Ended::default());
        let lines: Vec<serde_json::Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let shape: Vec<String> =
            lines.iter().map(|line| format!("{} {}", line["event"], line["id"]).replace('"', "")).collect();
        assert_eq!(shape, ["say m1", "edit m1", "edit m1", "edit m1", "edit m1", "say m2"]);
        assert_eq!(lines[0]["card"]["title"], "ana: count");
        assert!(!printed.contains('\u{202e}'));
    }
}
