/* SPDX-License-Identifier: MIT */
/*
 * The terminal through ncurses. A signal that asks the program to end is passed on, so that the
 * verb ends in order. At a second one, or at a signal of a crash, the handler gives the terminal
 * back. It uses only what is async-signal-safe: bytes made ready beforehand and tcsetattr().
 * ncurses itself handles stopping and continuing (Ctrl-Z).
 */
#include "terminal.h"
#include "cli.h"

#include <curses.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <term.h>
#include <termios.h>
#include <unistd.h>
#include <wchar.h>

#define CTRL_L 12

static volatile sig_atomic_t active;
static struct termios modes_before;
static char farewell[256]; /* what brings the terminal back */
static size_t farewell_len;

static int keep_byte(int byte)
{
    if (farewell_len < sizeof(farewell))
        farewell[farewell_len++] = (char)byte;
    return byte;
}

static void prepare_farewell(void)
{
    static const char *const capabilities[] = {"sgr0", "cnorm", "rmcup"};

    farewell_len = 0;
    for (size_t i = 0; i < sizeof(capabilities) / sizeof(capabilities[0]); i++) {
        const char *text = tigetstr(capabilities[i]);

        if (text != NULL && text != (const char *)-1)
            tputs(text, 1, keep_byte);
    }
}

static void give_back_now(void)
{
    if (!active)
        return;
    active = 0;
    if (write(STDOUT_FILENO, farewell, farewell_len) >= 0)
        tcsetattr(STDIN_FILENO, TCSANOW, &modes_before);
}

static void on_signal(int number)
{
    bool polite = number == SIGINT || number == SIGTERM || number == SIGHUP;

    if (polite && !cli_interrupted()) {
        cli_interrupt(number);
        return;
    }
    give_back_now();
    signal(number, SIG_DFL);
    raise(number); /* arrives when the handler returns */
}

/* Before ncurses, which leaves signals alone that are caught already. */
static void catch_terminal_signals(void)
{
    static const int caught[] = {SIGINT,  SIGTERM, SIGHUP, SIGQUIT, SIGABRT,
                                 SIGSEGV, SIGBUS,  SIGILL, SIGFPE};
    struct sigaction action = {.sa_handler = on_signal};

    for (size_t i = 0; i < sizeof(caught) / sizeof(caught[0]); i++)
        sigaction(caught[i], &action, NULL);
}

static void prepare_colors(void)
{
    if (!has_colors())
        return;
    start_color();
    use_default_colors();
    init_pair(TERMINAL_ALARM, COLOR_RED, -1);
    init_pair(TERMINAL_WARN, COLOR_YELLOW, -1);
}

int terminal_start(void)
{
    const char *name = getenv("TERM");

    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO) ||
        tcgetattr(STDIN_FILENO, &modes_before) != 0)
        return cli_usage("this needs a terminal; --batch N prints N screens without one");
    catch_terminal_signals();
    if (newterm(NULL, stdout, stdin) == NULL)
        return cli_usage("the terminal '%s' is not known here (TERM); --batch N needs none",
                         name != NULL ? name : "");
    prepare_farewell();
    active = 1;
    atexit(terminal_stop);
    cbreak();
    noecho();
    nodelay(stdscr, TRUE);
    curs_set(0);
    prepare_colors();
    return EX_OK;
}

void terminal_stop(void)
{
    if (!active)
        return;
    endwin();
    active = 0;
}

void terminal_size(int *height, int *width)
{
    getmaxyx(stdscr, *height, *width);
}

/* How many bytes of the text fit. */
static int fitting(const char *text, int width)
{
    mbstate_t state = {0};
    size_t left = strlen(text);
    int bytes = 0;

    while (left > 0) {
        wchar_t wide;
        size_t len = mbrtowc(&wide, text + bytes, left, &state);
        int cells = len < (size_t)-2 ? wcwidth(wide) : -1;

        if (cells < 0 || cells > width)
            break;
        width -= cells;
        bytes += (int)len;
        left -= len;
    }
    return bytes;
}

static void show_line(int row, int width, const struct terminal_line *line)
{
    static const attr_t attributes[] = {[TERMINAL_PLAIN] = A_NORMAL,
                                        [TERMINAL_TITLE] = A_REVERSE,
                                        [TERMINAL_HEAD] = A_BOLD,
                                        [TERMINAL_ALARM] = A_BOLD,
                                        [TERMINAL_WARN] = A_NORMAL};
    bool colored = line->style == TERMINAL_ALARM || line->style == TERMINAL_WARN;

    mvaddnstr(row, 0, line->text, fitting(line->text, width));
    mvchgat(row, 0, -1, attributes[line->style],
            colored && has_colors() ? (short)line->style : (short)0, NULL);
}

void terminal_show(const struct terminal_line *content, int count)
{
    int height, width;

    terminal_size(&height, &width);
    erase();
    for (int row = 0; row < height && row < count; row++)
        show_line(row, width, &content[row]);
    refresh();
}

/* poll() and not getch() waits, since a terminal that went away must not look like no key. */
int terminal_key(uint64_t wait_ns)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    int ready = poll(&input, 1, (int)((wait_ns + 999999) / 1000000));
    int key = getch();

    if (key == ERR)
        return ready > 0 ? TERMINAL_GONE : 0;
    if (key != KEY_RESIZE && key != CTRL_L)
        return key;
    clearok(curscr, TRUE); /* what is on the screen is not known any more */
    return 0;
}
