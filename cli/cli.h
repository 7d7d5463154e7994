/* SPDX-License-Identifier: MIT */
/*
 * What every verb of the command line shares: its own description, parsed arguments, messages
 * with exit codes, and output for terminals and programs. Uses only the public header; a verb
 * is one struct cli_verb in a file of its own and one line in verbs.def.
 */
#ifndef HOLDFAST_CLI_H
#define HOLDFAST_CLI_H

#include <holdfast/holdfast.h>

#include <stdbool.h>
#include <stdio.h>
#include <sysexits.h>

/* ------------------------------------------------------------------------- verbs, args.c -- */

enum cli_kind {
    CLI_FLAG,   /* value: bool, set to true */
    CLI_TEXT,   /* value: const char * */
    CLI_BYTES,  /* value: uint64_t; 4096, 64K, 2M, 8G, 1T */
    CLI_COUNT,  /* value: uint32_t */
    CLI_MODE,   /* value: mode_t; octal permission bits */
    CLI_POLICY, /* value: struct hf_policy */
    CLI_TIME,   /* value: uint64_t, nanoseconds; 5s, 100ms, a bare number is seconds */
};

struct cli_option {
    const char *name; /* without the dashes */
    char letter;      /* 0: none */
    enum cli_kind kind;
    void *value;
    const char *value_name; /* SIZE, PATH ...; null for CLI_FLAG */
    const char *help;
    const char *words; /* values that a shell may offer, a blank between; null: none are fixed */
    uint64_t min, max; /* CLI_BYTES, CLI_COUNT and CLI_TIME */
    bool required;
    bool given; /* set by the parser */
};

#define CLI_POLICY_WORDS "wait nowait detach deadline: deadline-detach:"
/* The option --policy, which several verbs have. */
#define CLI_POLICY_OPTION(policy, text)                                                            \
    {                                                                                              \
        .name = "policy", .letter = 'p', .kind = CLI_POLICY, .value = &(policy),                   \
        .value_name = "POLICY", .help = (text), .words = CLI_POLICY_WORDS                          \
    }

struct cli_verb {
    const char *name;
    const char *operands;       /* as shown after the verb: "POOL PATH..." */
    const char *summary;        /* one line, in the list of verbs */
    const char *details;        /* more lines for --help, or null */
    struct cli_option *options; /* ended by a null name; or null */
    int operands_min, operands_max;
    bool raw; /* all arguments go to run() unparsed */
    /* The first argument chooses one of these, ended by null, and it is all that counts. The name
     * of each is this one's, a blank and its own. Or null. */
    const struct cli_verb *const *verbs;
    /* The program holdfast-TOPIC knows all of the verb but what is above, and is run in place of
     * this one, with the same arguments. Or null. */
    const char *topic;
    int (*run)(int count, char **operands);
};

/* Sorts the arguments after the verb into options and operands (moved to the front, *count of
 * them). Returns -1 to go on, else the exit code; the sentence is printed. */
int cli_parse(const struct cli_verb *verb, char **args, int *count);

/* Becomes the program holdfast-TOPIC (launch.c). Returns the exit code if it cannot. */
int cli_launch(const char *topic, char **argv);

/* `holdfast complete WORD...`: complete.c. */
int cli_complete(int count, char **words);

/* The verb of `verb->verbs` that has this name of its own; null: there is none. */
const struct cli_verb *cli_find_below(const struct cli_verb *verb, const char *name);
/* The last word of its name. */
const char *cli_own_name(const struct cli_verb *verb);

/* Prints `holdfast VERB --help`. */
void cli_print_help(const struct cli_verb *verb);

extern const struct cli_verb *const cli_verbs[]; /* in the order of the list, ended by null */
const struct cli_verb *cli_find_verb(const char *name);
extern const struct cli_verb *cli_current_verb;

extern bool cli_mount_helper; /* mount(8) runs us */

/* --------------------------------------------------------------------- messages, fail.c --- */

/* Prints 'holdfast: VERB: what: why', with the library's sentence for the call that just returned
 * rc. Returns the exit code for rc. */
int cli_fail(const char *what, int rc);
/* The same with a sentence of another library, or the verb's own. */
int cli_fail_why(const char *what, const char *why, int rc);
/* The same for a call of the C library; error is the errno. */
int cli_fail_host(const char *what, int error);
/* The same for wrong arguments; returns EX_USAGE. */
int cli_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A sentence that is not a failure by itself. */
void cli_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

int cli_exit_code(int rc);

/* A signal asked the program to end: verbs stop at the next good place and clean up. */
bool cli_interrupted(void);
/* The same, from a handler that a verb has put in the place of main()'s. */
void cli_interrupt(int signal_number);

/* malloc, realloc and friends that end the program when memory is short. */
void *cli_alloc(size_t bytes);
void *cli_grow(void *array, size_t used, size_t *room, size_t item_bytes);
char *cli_strdup(const char *text);
/* "dir/name", with one slash; to be freed. */
char *cli_join(const char *dir, const char *name);
/* The last name of a path, without the slashes after it; "" for "/". To be freed. */
char *cli_last_name(const char *path);

static inline uint64_t cli_pages_up(uint64_t bytes)
{
    return (bytes + HF_BLOCK_BYTES - 1) / HF_BLOCK_BYTES;
}
/* Below, equal to or above 0, as qsort(3) wants it. */
static inline int cli_compare(uint64_t left, uint64_t right)
{
    return (left > right) - (left < right);
}

uint64_t cli_used_bytes(const struct hf_pool_info *info); /* in files */

/* Opens the pool or prints why not; the exit code or 0. */
int cli_pool_open(const char *path, uint32_t flags, struct hf_pool **out);
/* Closes it; returns status, or the exit code of the failure if status is 0. */
int cli_pool_close(struct hf_pool *pool, const char *path, int status);

/* ----------------------------------------------------------------------- output, text.c --- */

#define CLI_SIZE_TEXT 16
/* "8.0G": at most four digits and a unit. Returns buf. */
const char *cli_size(char buf[CLI_SIZE_TEXT], uint64_t bytes);
#define CLI_TIME_TEXT 32
const char *cli_duration(char buf[CLI_TIME_TEXT], uint64_t ns);
#define CLI_POLICY_TEXT 48
const char *cli_policy_text(char buf[CLI_POLICY_TEXT], const struct hf_policy *policy);
#define CLI_UUID_TEXT 37
const char *cli_uuid_text(char buf[CLI_UUID_TEXT], const uint8_t uuid[16]);
#define CLI_MODE_TEXT 11
const char *cli_mode_text(char buf[CLI_MODE_TEXT], mode_t mode); /* "-rw-r--r--" */
const char *cli_type_text(mode_t mode);                          /* "file", "directory" ... */
#define CLI_STAMP_TEXT 48
const char *cli_stamp(char buf[CLI_STAMP_TEXT], const struct timespec *time); /* local, with ns */

/* Prints a name: as it is into a pipe, with control and broken bytes escaped on a terminal. */
void cli_put_name(FILE *out, const char *name);
/* The same, always escaped: for tables. */
void cli_put_escaped(FILE *out, const char *name);

/* ------------------------------------------------------------------------- JSON, json.c --- */

/* Length of the UTF-8 sequence at text; 0: there is none. */
int cli_utf8_len(const char *text);

/* A JSON text on a stream, with commas and indentation; key is null inside an array. */
struct cli_json {
    FILE *out;
    int depth;
    bool first; /* nothing was written yet at this depth */
};
void cli_json_begin(struct cli_json *json, FILE *out);
void cli_json_end(struct cli_json *json); /* checks the nesting, ends the line */
void cli_json_open(struct cli_json *json, const char *key, char bracket); /* '{' or '[' */
void cli_json_close(struct cli_json *json, char bracket);                 /* '}' or ']' */
/* Bytes that are not UTF-8 become \udc80 .. \udcff, as Python's surrogateescape has it. */
void cli_json_text(struct cli_json *json, const char *key, const char *text);
/* The same of `len` bytes, which a NUL follows, and which may have others in them. */
void cli_json_bytes(struct cli_json *json, const char *key, const char *bytes, size_t len);
void cli_json_number(struct cli_json *json, const char *key, uint64_t number);
/* A count with its key; a null key ends a list of them. */
struct cli_number {
    const char *key;
    uint64_t number;
};
void cli_json_numbers(struct cli_json *json, const struct cli_number *numbers);
void cli_json_bool(struct cli_json *json, const char *key, bool value);
void cli_json_null(struct cli_json *json, const char *key);
void cli_json_time(struct cli_json *json, const char *key, const struct timespec *time);
void cli_json_policy(struct cli_json *json, const char *key, const struct hf_policy *policy);
/* The pool's size, and what it is used for: info.c. */
void cli_json_space(struct cli_json *json, const struct hf_pool_info *info);

/* --------------------------------------------------------------------- progress.c --------- */

/* One line on stderr that is rewritten ten times a second; nothing when stderr is not a
 * terminal. */
struct cli_progress {
    bool shown; /* stderr is a terminal */
    uint64_t start_ns, last_ns;
    uint64_t items, bytes; /* done so far */
    uint64_t total;        /* of items, 0: not known */
    const char *noun;      /* what is counted: "files" */
};
void cli_progress_begin(struct cli_progress *progress, const char *noun);
/* After items or bytes were counted up; name is what is being worked on, may be null. */
void cli_progress_step(struct cli_progress *progress, const char *name);
/* Wipes the line, so that other text can be printed. */
void cli_progress_wipe(struct cli_progress *progress);
/* Leaves a line with the sum of it all. */
void cli_progress_end(struct cli_progress *progress);
uint64_t cli_now_ns(void);

/* --------------------------------------------------------------------- tree.c ------------- */

struct cli_found {
    uint64_t dir; /* inode of the directory it is in */
    uint64_t ino;
    uint32_t type; /* S_IFREG, S_IFDIR ... */
    const char *name;
    const char *path; /* of any length */
};
struct cli_visitor {
    bool below; /* directories are entered */
    /* Each returns whether all is well. If it returns false for a directory, that is not
     * entered. */
    bool (*entry)(void *arg, const struct cli_found *found);
    bool (*leave)(void *arg, const struct cli_found *directory, bool fine); /* may be null */
    bool (*failed)(void *arg, const char *path, int rc); /* a directory that cannot be read */
    int *status; /* becomes the exit code for damage where a directory is below itself */
    void *arg;
    bool finishes; /* also after a signal */
};
/* Visits everything in the directory `ino`, called `path`, in the order of names. False: something
 * is not well, or the program is to end. */
bool cli_walk(struct hf_pool *pool, uint64_t ino, const char *path,
              const struct cli_visitor *visitor);

/* --------------------------------------------------------------------- files.c ------------ */

struct cli_files {
    uint64_t *inos; /* ascending, each file once; to be freed with free() */
    size_t count, room;
};
/* Lists the regular files at and below the paths, or of the whole pool without paths. Prints what
 * cannot be read; *status becomes the exit code of that. */
void cli_files_find(struct cli_files *files, struct hf_pool *pool, int count, char **paths,
                    int *status);

/* --------------------------------------------------------------------- pace.c ------------- */

/* A signal ends it. */
void cli_sleep(uint64_t ns);
struct cli_pace {
    uint64_t rate; /* bytes a second; 0: as fast as it goes */
    uint64_t begin_ns, bytes;
};
void cli_pace_begin(struct cli_pace *pace, uint64_t rate);
/* After so many more bytes: waits until they are not too many for the rate, or for a signal. */
void cli_pace_keep(struct cli_pace *pace, uint64_t bytes);

/* --------------------------------------------------------------------- inode_names.c ------ */

/* Which path belongs to an inode: one walk through all names instead of one hf_path() each. */
struct cli_inode_names;
/* Prints which directories cannot be read; the exit code for the worst, or EX_OK. */
int cli_inode_names_read(struct hf_pool *pool, struct cli_inode_names **out);
const char *cli_inode_name(const struct cli_inode_names *names, uint64_t ino); /* null: none */
void cli_inode_names_free(struct cli_inode_names *names);
/* The path, or "(deleted, inode N)", or "(path too long, inode N)", in buf if need be. */
#define CLI_LOST_NAME_TEXT 48
const char *cli_inode_title(const struct cli_inode_names *names, uint64_t ino,
                            char buf[CLI_LOST_NAME_TEXT]);

/* --------------------------------------------------------------------- xattr_list.c ------- */

/* The names of a file's extended attributes, one after the other, each terminated; to be freed.
 * The file is `path` from the inode `at`. *len: of the list; 0: there are none; or -errno, and null
 * is returned. */
char *cli_xattr_list(struct hf_pool *pool, uint64_t at, const char *path, ssize_t *len);

/* --------------------------------------------------------------------- pin_list.c --------- */

/* What is held and what waits, as of one moment. */
struct cli_pins {
    struct hf_pin_info *list;
    size_t count, room;
};
int cli_pins_read(struct hf_pool *pool, struct cli_pins *pins); /* what was there before goes */
void cli_pins_free(struct cli_pins *pins);

/* Does the layout change `change` wait for `pin`? */
bool cli_pin_blocks(const struct hf_pin_info *pin, const struct hf_pin_info *change);

/* How many entries of each kind it has. */
enum cli_pin_state {
    CLI_PIN_HELD,
    CLI_PIN_RECALLED,
    CLI_PIN_STOPPED,
    CLI_PIN_DETACHED,
    CLI_PIN_QUARANTINED,
    CLI_PIN_STATES
};
enum { CLI_PINS, CLI_LEASES, CLI_PUTS, CLI_PIN_KINDS };
#define CLI_PURPOSES 4
struct cli_pin_counts {
    uint64_t of[CLI_PIN_KINDS][CLI_PIN_STATES][CLI_PURPOSES];
    uint64_t waiting; /* layout changes */
    uint64_t longest_wait_ns, oldest_lease_ns;
};
void cli_pins_count(const struct cli_pins *pins, struct cli_pin_counts *out);
extern const char *const cli_kind_words[CLI_PIN_KINDS];
extern const char *const cli_state_words[CLI_PIN_STATES];
extern const char *const cli_purpose_words[CLI_PURPOSES];

/* What a pin is, in words. */
const char *cli_pin_kind(const struct hf_pin_info *pin);    /* "pin", "lease", "change" */
const char *cli_pin_state(const struct hf_pin_info *pin);   /* "held", "recalled", "waiting" ... */
const char *cli_pin_mode(const struct hf_pin_info *pin);    /* "read", "write", "-" */
const char *cli_pin_purpose(const struct hf_pin_info *pin); /* "cpu", "io_uring" ..., "-" */
const char *cli_pin_age(char buf[CLI_TIME_TEXT], const struct hf_pin_info *pin);
#define CLI_RANGE_TEXT 48
const char *cli_pin_range(char buf[CLI_RANGE_TEXT], const struct hf_pin_info *pin);
/* " [192.0.2.7:4711]" after the file, if the holder of a lease has given it a label. */
void cli_put_label(FILE *out, const struct hf_pin_info *pin);
/* The command, `indent` blanks before it, filled up to `width` columns. */
void cli_put_command(FILE *out, const struct hf_pin_info *pin, int indent, int width);

#endif
