/* SPDX-License-Identifier: MIT */
/*
 * Machines of this test's own: networks (namespaces), each with a link to one bridge. Nothing of
 * them has a name outside this process. So they are gone when it is, and two tests never meet.
 */
#ifndef HF_TESTS_CLUSTER_MACHINES_H
#define HF_TESTS_CLUSTER_MACHINES_H

#define MACHINES_MAX 16u

/* Makes so many, and moves this process to the network of the bridge, which reaches them all.
 * Skips the test where they cannot be made. */
void machines_begin(unsigned count);
const char *machine_address(unsigned machine);
/* This process is on that machine from now on. */
void machine_enter(unsigned machine);

enum machine_cut {
    MACHINE_UNPLUGGED, /* its link is down */
    MACHINE_SILENT,    /* its link is up, and takes nothing either way */
    MACHINE_DEAF,      /* others hear it, and it hears nobody */
    MACHINE_MUTE,      /* the reverse */
    MACHINE_APART,     /* it does not reach others that are apart too */
    MACHINE_CUTS
};
void machine_cut(unsigned machine, enum machine_cut how);
void machine_heal(unsigned machine);

#endif
