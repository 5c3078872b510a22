/*
 * A small network that the tests of checkpoints share, and the ranks that its tensors are divided over: a tensor for
 * each way of using state, in every format. All ranks' shards lie in the same arrays, so that the parameters of a run
 * can be compared whatever the ranks were.
 */
#ifndef FUSEDOPT_TESTS_NET_H
#define FUSEDOPT_TESTS_NET_H

#include "fusedopt_checkpoint.h"

#include <stdbool.h>

enum { NET_TENSORS = 10, NET_RANKS = 8, NET_BYTES = 4 * (9 * 256 + 17) };

/* Where a network's arrays are: the device, its memory, and copies between that and the host's. */
typedef struct net_place {
    fopt_device device;
    void *(*give)(size_t bytes);
    void (*take)(void *block);
    void (*copy)(void *to, const void *from, size_t bytes);
} net_place;
extern const net_place net_host;

typedef struct net_rank {
    fopt_config config;
    fopt_tensor tensors[NET_TENSORS];
    size_t count;
    fopt_run run;
} net_rank;

typedef struct net {
    const net_place *place;
    fopt_group groups[NET_TENSORS];
    fopt_tensor wholes[NET_TENSORS];
    unsigned char *params, *grads; /* NET_BYTES of each tensor */
    size_t rank_count;
    net_rank ranks[NET_RANKS];
} net;

/* Describes a network for so many ranks, with first parameters that are always alike. Whoever wants it otherwise
 * changes groups and wholes before net_create(). */
void net_describe(net *n, const net_place *place, size_t rank_count);
void net_create(net *n);
void net_open(net *n, const net_place *place, size_t rank_count); /* both */
void net_close(net *n);

/* Makes the steps from `begin` to `end`, each with gradients that depend on its number alone. */
void net_train(net *n, size_t begin, size_t end);

/* Reads the parameters of all tensors, NET_BYTES of each. */
void net_read_params(const net *n, unsigned char *params);

/* Everything that a load may write, to be compared by memcmp(): states and step counts of one rank, and all parameters.
 * The bytes come to be freed. */
void *net_snapshot(const net *n, size_t rank, size_t *bytes);

/* Tells whether the parts of `pattern` between asterisks occur in the text, in that order. */
bool net_mentions(const char *text, const char *pattern);

#endif
