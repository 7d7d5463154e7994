/* SPDX-License-Identifier: MIT */
/*
 * Pictures of groups, drawn by gnuplot as SVG. A picture has its group's panels side by side. A
 * panel has a line for each subject along x, or a bar for each subject where there is no x. Colours
 * are those of Okabe and Ito, which colour-blind readers can tell apart; dashes and points tell
 * apart the subjects that share one.
 */
#include "bench.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define NAMES_MAX 64u
#define PANELS_MAX 2u

static const char *const colours[] = {"#0072B2", "#D55E00", "#009E73", "#CC79A7",
                                      "#E69F00", "#56B4E9", "#000000", "#999999"};
#define COLOURS (sizeof colours / sizeof colours[0])

/* Texts in the order in which they came first. */
struct names {
    const char *name[NAMES_MAX];
    unsigned count;
};

struct picture {
    const char *group;
    const struct bench_panel *panels[PANELS_MAX];
    unsigned panel_count;
    struct names subjects, places;
};

static unsigned number_of(struct names *names, const char *name)
{
    for (unsigned i = 0; i < names->count; i++)
        if (strcmp(names->name[i], name) == 0)
            return i;
    if (names->count == NAMES_MAX)
        lab_fail("more than %u names in a picture", NAMES_MAX);
    names->name[names->count] = name;
    return names->count++;
}

static bool in_picture(const struct bench_row *row, const char *group)
{
    return row->panel && strcmp(row->group, group) == 0;
}

static void collect_rows(struct picture *picture, const char *group)
{
    *picture = (struct picture){.group = group};
    for (unsigned i = 0; i < bench.row_count; i++) {
        const struct bench_row *row = &bench.rows[i];
        unsigned panel = 0;

        if (!in_picture(row, group))
            continue;
        while (panel < picture->panel_count && picture->panels[panel] != row->panel)
            panel++;
        if (panel == PANELS_MAX)
            lab_fail("more than %u panels in a picture", PANELS_MAX);
        picture->panels[panel] = row->panel;
        picture->panel_count += panel == picture->panel_count;
        number_of(&picture->subjects, row->subject);
        if (row->at)
            number_of(&picture->places, row->at);
    }
}

/* In gnuplot's quotes, in which only a quote is special. */
static void quote(FILE *to, const char *text)
{
    fputc('\'', to);
    for (; *text; text++)
        fprintf(to, *text == '\'' ? "''" : "%c", *text);
    fputc('\'', to);
}

static const char *fact(const char *name)
{
    for (const struct bench_fact *fact = bench_machine(); fact->name; fact++)
        if (strcmp(fact->name, name) == 0)
            return fact->value;
    return "";
}

/* Without names there are tics alone. */
static void write_tics(FILE *to, char axis, const struct names *names, unsigned count)
{
    fprintf(to, "set %ctics (", axis);
    for (unsigned i = 0; i < count; i++) {
        quote(to, names ? names->name[i] : "");
        fprintf(to, " %u%s", i, i + 1 < count ? ", " : "");
    }
    fputs(")\n", to);
}

/* ----------------------------------------------------------------------------- lines ----- */

/* A block of data a subject: empty where the panel has nothing of it. */
static void write_lines(FILE *to, struct picture *picture, unsigned panel)
{
    for (unsigned subject = 0; subject < picture->subjects.count; subject++) {
        fprintf(to, "$lines%u << E\n", subject);
        for (unsigned i = 0; i < bench.row_count; i++) {
            const struct bench_row *row = &bench.rows[i];

            if (in_picture(row, picture->group) && row->panel == picture->panels[panel] &&
                strcmp(row->subject, picture->subjects.name[subject]) == 0)
                fprintf(to, "%u %.6g\n", number_of(&picture->places, row->at), bench_median(row));
        }
        fputs("E\n", to);
    }
}

static void draw_lines(FILE *to, struct picture *picture, unsigned panel)
{
    write_lines(to, picture, panel);
    write_tics(to, 'x', &picture->places, picture->places.count);
    fprintf(to, "set xrange [-0.2:%g]\nplot ", picture->places.count - 0.8);
    for (unsigned i = 0; i < picture->subjects.count; i++) {
        fprintf(to, "%s$lines%u with linespoints lc rgb '%s' lw %g dt %u pt %u ps 0.6 title ",
                i ? ", " : "", i, colours[i % COLOURS], i ? 1.6 : 3, i / (unsigned)COLOURS + 1,
                4 + i % 10);
        quote(to, picture->subjects.name[i]);
    }
    fputc('\n', to);
}

/* ------------------------------------------------------------------------------ bars ----- */

struct span {
    double begin, end;
};

/* The same for all panels, to be compared. A log scale has no zero for bars to begin at, and the
 * longest one has its value behind it. */
static struct span value_axis(const struct picture *picture)
{
    struct span axis = {1, 0};

    for (unsigned i = 0; i < bench.row_count; i++) {
        double value;

        if (!in_picture(&bench.rows[i], picture->group))
            continue;
        value = bench_median(&bench.rows[i]);
        while (axis.begin > value / 1.5)
            axis.begin /= 10;
        axis.end = axis.end < value * 5 ? value * 5 : axis.end;
    }
    return axis;
}

static void write_bars(FILE *to, struct picture *picture, unsigned panel)
{
    fputs("$bars << E\n", to);
    for (unsigned i = 0; i < bench.row_count; i++) {
        const struct bench_row *row = &bench.rows[i];
        char text[LAB_TEXT];

        if (in_picture(row, picture->group) && row->panel == picture->panels[panel])
            fprintf(to, "%u %.6g %s\n", number_of(&picture->subjects, row->subject),
                    bench_median(row), bench_number_text(text, bench_median(row)));
    }
    fputs("E\n", to);
}

static void draw_bars(FILE *to, struct picture *picture, unsigned panel)
{
    struct span axis = value_axis(picture);

    write_bars(to, picture, panel);
    write_tics(to, 'y', panel ? NULL : &picture->subjects, picture->subjects.count);
    fprintf(to, "set yrange [%g:-0.6]\nset xrange [%g:%g]\nplot ", picture->subjects.count - 0.4,
            axis.begin, axis.end);
    for (unsigned rest = 0; rest < 2; rest++) /* the first one stands out */
        fprintf(to,
                "$bars every ::%u%s using (%g):1:(%g):2:($1-0.34):($1+0.34) with boxxyerror"
                " fs solid 1 noborder lc rgb '%s' notitle, ",
                rest, rest ? "" : "::0", axis.begin, axis.begin, rest ? "#56B4E9" : colours[0]);
    fputs("$bars using 2:1:3 with labels left offset 0.5,0 notitle\n", to);
}

/* --------------------------------------------------------------------------- pictures ---- */

static void draw_panel(FILE *to, struct picture *picture, unsigned number)
{
    const struct bench_panel *panel = picture->panels[number];
    bool lines = picture->places.count > 0;

    fputs("set title ", to);
    quote(to, panel->title);
    fputs("\nset xlabel ", to);
    quote(to, lines ? panel->x : panel->y);
    fputs("\nset ylabel ", to);
    quote(to, lines ? panel->y : "");
    fprintf(to, "\nunset logscale\nset yrange [%s:*]\n", lines && !panel->log_scale ? "0" : "*");
    if (panel->log_scale)
        fprintf(to, "set logscale %c\n", lines ? 'y' : 'x');
    (lines ? draw_lines : draw_bars)(to, picture, number);
}

static void draw_picture(FILE *to, struct picture *picture, const char *file)
{
    bool lines = picture->places.count > 0;

    fputs("set terminal svg size 1100,500 font 'sans-serif,13' noenhanced background 'white'\n"
          "set grid lc rgb '#dddddd'\nset border 3 lc rgb '#666666'\nset tics nomirror\nunset key\n"
          "set output ",
          to);
    quote(to, file);
    fprintf(to, "\nset multiplot layout 1,%u margins screen %s spacing screen %s title ",
            picture->panel_count, lines ? "0.07,0.74,0.13,0.78" : "0.2,0.98,0.13,0.78",
            lines ? "0.08" : "0.02");
    quote(to, bench_text("holdfast bench %s", picture->group));
    fputs(" . \"\\n\" . ", to);
    quote(to, bench_text("%s, CPUs used: %s, %s", fact("processor"), fact("CPUs used"),
                         fact("kernel")));
    fputc('\n', to);
    for (unsigned i = 0; i < picture->panel_count; i++) {
        if (i + 1 == picture->panel_count) /* one key for all, beside the last */
            fputs("set key at screen 0.755,0.79 left top Left reverse samplen 2.5 spacing 1.15"
                  " maxrows 24 maxcols 1\n",
                  to);
        draw_panel(to, picture, i);
    }
    fputs("unset multiplot\n", to);
}

/* FILE, or with the group's name before its last dot. */
static char *picture_path(const char *group, bool alone)
{
    const char *slash = strrchr(bench.plot, '/'), *dot = strrchr(bench.plot, '.');

    if (alone)
        return bench_text("%s", bench.plot);
    if (!dot || (slash && dot < slash))
        dot = bench.plot + strlen(bench.plot);
    return bench_text("%.*s-%s%s", (int)(dot - bench.plot), bench.plot, group, dot);
}

void bench_plot(void)
{
    struct names groups = {0};

    for (unsigned i = 0; i < bench.row_count; i++)
        if (bench.rows[i].panel)
            number_of(&groups, bench.rows[i].group);
    if (!groups.count)
        lab_say("none of these groups has a picture");
    for (unsigned i = 0; i < groups.count; i++) {
        char *file = picture_path(groups.name[i], groups.count == 1);
        FILE *gnuplot = popen("gnuplot", "we");
        struct picture picture;

        if (!gnuplot)
            lab_fail("gnuplot: %s", strerror(errno));
        collect_rows(&picture, groups.name[i]);
        draw_picture(gnuplot, &picture, file);
        if (pclose(gnuplot) != 0)
            lab_fail("gnuplot could not draw %s", file);
        free(file);
    }
}

/* Before minutes are spent on measuring. */
void bench_plot_check(void)
{
    char *folder = bench_text("%s", bench.plot), *slash = strrchr(folder, '/');

    if (system("gnuplot --version >/dev/null 2>&1") != 0) {
        lab_say(
            "--plot draws with gnuplot, which is not here: please install Debian's package gnuplot-nox");
        exit(EX_UNAVAILABLE);
    }
    if (slash)
        slash[slash == folder] = '\0';
    if (access(slash ? folder : ".", W_OK) != 0) {
        lab_say("--plot %s: %s", bench.plot, strerror(errno));
        exit(EX_CANTCREAT);
    }
    free(folder);
}
