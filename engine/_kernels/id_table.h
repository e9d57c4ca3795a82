/* Hash tables that give every distinct id a number, filled by several threads at once.
 *
 * A table is cut into shards by hash. A thread brings a block of ids into shard order first, then visits each shard once, under its lock,
 * so that locks cost nothing and what a shard needs is fetched ahead. Numbers are index << 8 | shard: they depend on who came first, and
 * are replaced by the place among all sorted ids later.
 */
#ifndef SAMESUM_ID_TABLE_H
#define SAMESUM_ID_TABLE_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define SAMESUM_SHARD_BITS 8
#define SAMESUM_SHARDS (1 << SAMESUM_SHARD_BITS)
#define SAMESUM_MOST_IN_SHARD (UINT32_C(1) << (32 - SAMESUM_SHARD_BITS))

typedef struct {
    int64_t id;
    uint32_t index; /* of the id in its shard, plus 1; 0: free */
} samesum_int_slot;

typedef struct {
    uint32_t tag;   /* the hash's lower bits, to rarely look at text in vain */
    uint32_t index; /* plus 1; 0: free */
} samesum_text_slot;

typedef struct {
    pthread_mutex_t lock;
    void *slots;
    uint64_t mask; /* number of slots, less 1 */
    uint32_t count;
    int64_t *ids;      /* integers: by index */
    uint64_t *hashes;  /* text: by index */
    int64_t *starts;   /* text: by index, in bytes; one more than there are ids */
    uint8_t *bytes;
    int64_t id_room;   /* of ids, or of hashes and starts */
    int64_t byte_room; /* of bytes */
} samesum_shard;

static inline uint64_t samesum_hash_int(uint64_t x)
{
    x ^= x >> 32;
    x *= UINT64_C(0xd6e8feb86659fd93);
    x ^= x >> 32;
    x *= UINT64_C(0xd6e8feb86659fd93);
    return x ^ x >> 32;
}

static inline uint64_t samesum_hash_text(const uint8_t *text, int64_t length)
{
    uint64_t hash = (uint64_t)length * UINT64_C(0x9e3779b97f4a7c15), word;
    for (; length >= 8; text += 8, length -= 8) {
        memcpy(&word, text, 8);
        hash = samesum_hash_int(hash ^ word);
    }
    word = 0;
    if (length > 0)
        memcpy(&word, text, (size_t)length);
    return samesum_hash_int(hash ^ word ^ UINT64_C(0xff51afd7ed558ccd));
}

static inline int samesum_shard_of(uint64_t hash) { return (int)(hash >> (64 - SAMESUM_SHARD_BITS)); }

static inline int samesum_open_shards(samesum_shard *shards, int is_text)
{
    for (int s = 0; s < SAMESUM_SHARDS; s++) {
        samesum_shard *shard = shards + s;
        memset(shard, 0, sizeof *shard);
        pthread_mutex_init(&shard->lock, NULL);
        shard->mask = 15;
        shard->slots = calloc(16, is_text ? sizeof(samesum_text_slot) : sizeof(samesum_int_slot));
        shard->id_room = 8;
        if (is_text) {
            shard->hashes = malloc(8 * sizeof(uint64_t));
            shard->starts = calloc(9, sizeof(int64_t));
            shard->byte_room = 64;
            shard->bytes = malloc(64);
        } else {
            shard->ids = malloc(8 * sizeof(int64_t));
        }
        if (!shard->slots || (is_text ? !shard->hashes || !shard->starts || !shard->bytes : !shard->ids))
            return -1;
    }
    return 0;
}

static inline void samesum_close_shards(samesum_shard *shards)
{
    for (int s = 0; s < SAMESUM_SHARDS; s++) {
        pthread_mutex_destroy(&shards[s].lock);
        free(shards[s].slots);
        free(shards[s].ids);
        free(shards[s].hashes);
        free(shards[s].starts);
        free(shards[s].bytes);
    }
}

/* Twice as many slots once half of them are taken, and room for one more id. 0: done; -1: no memory; -2: too many ids. */
static inline int samesum_grow_ints(samesum_shard *shard)
{
    if (shard->count + 1 >= SAMESUM_MOST_IN_SHARD)
        return -2;
    if (shard->count == shard->id_room) {
        int64_t *ids = realloc(shard->ids, (size_t)(shard->id_room + shard->id_room / 2) * sizeof *ids);
        if (!ids)
            return -1;
        shard->ids = ids;
        shard->id_room += shard->id_room / 2;
    }
    if (2 * ((uint64_t)shard->count + 1) <= shard->mask + 1)
        return 0;
    uint64_t mask = 2 * shard->mask + 1;
    samesum_int_slot *slots = calloc((size_t)(mask + 1), sizeof *slots);
    if (!slots)
        return -1;
    for (uint32_t index = 0; index < shard->count; index++) {
        uint64_t at = samesum_hash_int((uint64_t)shard->ids[index]) & mask;
        while (slots[at].index)
            at = (at + 1) & mask;
        slots[at].id = shard->ids[index];
        slots[at].index = index + 1;
    }
    free(shard->slots);
    shard->slots = slots;
    shard->mask = mask;
    return 0;
}

static inline int64_t samesum_add_int(samesum_shard *shard, int64_t id)
{
    samesum_int_slot *slots = shard->slots;
    uint64_t at = samesum_hash_int((uint64_t)id) & shard->mask;
    for (; slots[at].index; at = (at + 1) & shard->mask)
        if (slots[at].id == id)
            return slots[at].index - 1;
    uint64_t mask = shard->mask;
    int failed = samesum_grow_ints(shard);
    if (failed)
        return failed;
    if (shard->mask != mask) {
        slots = shard->slots;
        for (at = samesum_hash_int((uint64_t)id) & shard->mask; slots[at].index; at = (at + 1) & shard->mask)
            ;
    }
    slots[at].id = id;
    slots[at].index = shard->count + 1;
    shard->ids[shard->count] = id;
    return shard->count++;
}

static inline int samesum_grow_texts(samesum_shard *shard, int64_t length)
{
    if (shard->count + 1 >= SAMESUM_MOST_IN_SHARD)
        return -2;
    if (shard->count == shard->id_room) {
        int64_t room = shard->id_room + shard->id_room / 2;
        uint64_t *hashes = realloc(shard->hashes, (size_t)room * sizeof *hashes);
        if (!hashes)
            return -1;
        shard->hashes = hashes;
        int64_t *starts = realloc(shard->starts, (size_t)(room + 1) * sizeof *starts);
        if (!starts)
            return -1;
        shard->starts = starts;
        shard->id_room = room;
    }
    int64_t needed = shard->starts[shard->count] + length;
    if (needed > shard->byte_room) {
        int64_t room = shard->byte_room + shard->byte_room / 2 > needed ? shard->byte_room + shard->byte_room / 2 : needed;
        uint8_t *bytes = realloc(shard->bytes, (size_t)room);
        if (!bytes)
            return -1;
        shard->bytes = bytes;
        shard->byte_room = room;
    }
    if (2 * ((uint64_t)shard->count + 1) <= shard->mask + 1)
        return 0;
    uint64_t mask = 2 * shard->mask + 1;
    samesum_text_slot *slots = calloc((size_t)(mask + 1), sizeof *slots);
    if (!slots)
        return -1;
    for (uint32_t index = 0; index < shard->count; index++) {
        uint64_t at = shard->hashes[index] & mask;
        while (slots[at].index)
            at = (at + 1) & mask;
        slots[at].tag = (uint32_t)(shard->hashes[index] >> 24);
        slots[at].index = index + 1;
    }
    free(shard->slots);
    shard->slots = slots;
    shard->mask = mask;
    return 0;
}

static inline int64_t samesum_add_text(samesum_shard *shard, uint64_t hash, const uint8_t *text, int64_t length)
{
    samesum_text_slot *slots = shard->slots;
    uint32_t tag = (uint32_t)(hash >> 24);
    uint64_t at = hash & shard->mask;
    for (; slots[at].index; at = (at + 1) & shard->mask) {
        if (slots[at].tag != tag)
            continue;
        int64_t start = shard->starts[slots[at].index - 1];
        if (shard->starts[slots[at].index] - start == length && !memcmp(shard->bytes + start, text, (size_t)length))
            return slots[at].index - 1;
    }
    uint64_t mask = shard->mask;
    int failed = samesum_grow_texts(shard, length);
    if (failed)
        return failed;
    if (shard->mask != mask) {
        slots = shard->slots;
        for (at = hash & shard->mask; slots[at].index; at = (at + 1) & shard->mask)
            ;
    }
    slots[at].tag = tag;
    slots[at].index = shard->count + 1;
    int64_t start = shard->starts[shard->count];
    if (length > 0)
        memcpy(shard->bytes + start, text, (size_t)length);
    shard->starts[shard->count + 1] = start + length;
    shard->hashes[shard->count] = hash;
    return shard->count++;
}

/* Where in a block's arrays each shard's part ends, once `places` has been filled with the shard of each item. */
static inline void samesum_order_by_shard(const uint64_t *hashes, int64_t size, int64_t *ends, int64_t *order)
{
    int64_t starts[SAMESUM_SHARDS + 1] = {0};
    for (int64_t i = 0; i < size; i++)
        starts[samesum_shard_of(hashes[i]) + 1]++;
    for (int s = 0; s < SAMESUM_SHARDS; s++)
        starts[s + 1] += starts[s];
    memcpy(ends, starts + 1, SAMESUM_SHARDS * sizeof(int64_t));
    for (int64_t i = 0; i < size; i++)
        order[starts[samesum_shard_of(hashes[i])]++] = i;
}

/* Give each of `size` ids its number. `hashes`, `order`: as many. `first_shard`: where to begin, so that threads do not queue. */
static inline int samesum_add_ints(
    samesum_shard *shards, const int64_t *ids, int64_t size, int first_shard, uint64_t *hashes, int64_t *order, uint32_t *numbers)
{
    int64_t ends[SAMESUM_SHARDS];
    for (int64_t i = 0; i < size; i++)
        hashes[i] = samesum_hash_int((uint64_t)ids[i]);
    samesum_order_by_shard(hashes, size, ends, order);
    for (int turn = 0; turn < SAMESUM_SHARDS; turn++) {
        int s = (first_shard + turn) % SAMESUM_SHARDS;
        samesum_shard *shard = shards + s;
        int64_t at = s ? ends[s - 1] : 0;
        if (at == ends[s])
            continue;
        pthread_mutex_lock(&shard->lock);
        const samesum_int_slot *slots = shard->slots;
        for (int64_t j = at; j < ends[s]; j++)
            __builtin_prefetch(slots + (hashes[order[j]] & shard->mask));
        for (; at < ends[s]; at++) {
            int64_t index = samesum_add_int(shard, ids[order[at]]);
            if (index < 0) {
                pthread_mutex_unlock(&shard->lock);
                return (int)index;
            }
            numbers[order[at]] = (uint32_t)index << SAMESUM_SHARD_BITS | (uint32_t)s;
        }
        pthread_mutex_unlock(&shard->lock);
    }
    return 0;
}

static inline int samesum_add_texts(
    samesum_shard *shards, const uint8_t *data, const int64_t *starts, const int64_t *stops, int64_t size, int first_shard,
    uint64_t *hashes, int64_t *order, uint32_t *numbers)
{
    int64_t ends[SAMESUM_SHARDS];
    for (int64_t i = 0; i < size; i++)
        hashes[i] = samesum_hash_text(data + starts[i], stops[i] - starts[i]);
    samesum_order_by_shard(hashes, size, ends, order);
    for (int turn = 0; turn < SAMESUM_SHARDS; turn++) {
        int s = (first_shard + turn) % SAMESUM_SHARDS;
        samesum_shard *shard = shards + s;
        int64_t at = s ? ends[s - 1] : 0;
        if (at == ends[s])
            continue;
        pthread_mutex_lock(&shard->lock);
        const samesum_text_slot *slots = shard->slots;
        for (int64_t j = at; j < ends[s]; j++)
            __builtin_prefetch(slots + (hashes[order[j]] & shard->mask));
        for (; at < ends[s]; at++) {
            int64_t i = order[at];
            int64_t index = samesum_add_text(shard, hashes[i], data + starts[i], stops[i] - starts[i]);
            if (index < 0) {
                pthread_mutex_unlock(&shard->lock);
                return (int)index;
            }
            numbers[i] = (uint32_t)index << SAMESUM_SHARD_BITS | (uint32_t)s;
        }
        pthread_mutex_unlock(&shard->lock);
    }
    return 0;
}

#endif
