/* Workers take single rows of the batches in flight, in order; batches are handed out in order. One lock guards all
 * that changes; the contents of a row belong to the worker that took it until it has counted the row as done. */
#include "data/loader.h"

#include "base/memory.h"
#include "base/threads.h"
#include "data/mixing.h"
#include <math.h>
#include <string.h>

enum { WORKERS_DEFAULT = 8, WORKERS_LIMIT = 256 };

typedef enum slot_state { SLOT_FREE, SLOT_FILLING, SLOT_READY, SLOT_HELD } slot_state;

/* A batch in flight. */
typedef struct slot {
    slad_batch batch;
    slot_state state;
    uint64_t sequence;        /* counts batches as they are begun */
    uint32_t epoch, position; /* of the batch in its epoch */
    bool mixing;              /* all rows are finished, and a worker mixes them */
    size_t taken, done;       /* rows given to workers, rows finished; of batch.capacity, so padding too */
    char **problems;          /* [capacity], why a row's image is broken; NULL for a good one */
    slad_status status;       /* of the first row, in order, that ended in an error */
    size_t failed_row;
    char *failure;
} slot;

typedef struct worker {
    slad_loader *loader;
    slad_context *context; /* of its own, so that a broken image is no error of the trainer's */
    slad_thread *thread;
} worker;

struct slad_loader {
    slad_context *context;
    const slad_dataset *dataset;
    slad_split split;
    const slad_preprocess *preprocess;
    slad_loader_options options;
    size_t image_count, height, width;
    bool has_tensors;

    slad_lock *lock;
    slad_condition *changed;
    bool running; /* rows are given out: from the first next or seek on, but not while seeking */
    bool stopping;

    slot *slots;
    slot *filling;       /* the slot whose rows are given out, NULL for none */
    uint64_t next_begun; /* sequence of the batch to be begun next */
    uint64_t next_given; /* sequence of the batch that slad_loader_next gives next */
    uint32_t epoch;      /* place of the batch to be begun next */
    size_t position;
    uint32_t *order; /* [image_count], of order_epoch if has_order */
    uint32_t order_epoch;
    bool has_order;

    bool *broken; /* [image_count] */
    size_t broken_count;
    worker *workers;
    uint32_t worker_count;
};

size_t slad_loader_batches(const slad_loader *loader)
{
    return (loader->image_count + loader->options.batch - 1) / loader->options.batch;
}

size_t slad_loader_broken_count(const slad_loader *loader)
{
    return loader->broken_count;
}

static void slot_clear(slad_loader *loader, slot *s)
{
    for (size_t row = 0; row < loader->options.batch; row++) {
        slad_release(s->problems[row]);
        s->problems[row] = NULL;
    }
    slad_release(s->failure);
    s->failure = NULL;
    s->status = SLAD_OK;
    s->taken = s->done = 0;
    s->state = SLOT_FREE;
}

static void make_order(slad_loader *loader)
{
    const uint32_t count = (uint32_t)loader->image_count;
    if (loader->has_order && (!loader->options.shuffle || loader->order_epoch == loader->epoch)) return;
    if (loader->options.shuffle) {
        slad_random random = slad_random_start(loader->options.seed, SLAD_RANDOM_SHUFFLE, loader->epoch, 0);
        slad_random_permutation(loader->order, count, &random);
    } else {
        for (uint32_t i = 0; i < count; i++) loader->order[i] = i;
    }
    loader->order_epoch = loader->epoch;
    loader->has_order = true;
}

/* Begins the next batch in a free slot, if there is one. The caller holds the lock. */
static void begin_batch(slad_loader *loader)
{
    slot *s = NULL;
    for (uint32_t i = 0; i < loader->options.slots && !s; i++)
        if (loader->slots[i].state == SLOT_FREE) s = &loader->slots[i];
    if (!s) return;
    make_order(loader);
    const size_t capacity = s->batch.capacity, first = loader->position * capacity;
    const size_t left = loader->image_count - first;
    s->batch.count = left < capacity ? left : capacity;
    for (size_t row = 0; row < capacity; row++)
        s->batch.indices[row] = row < s->batch.count ? loader->order[first + row] : 0;
    s->sequence = loader->next_begun++;
    s->epoch = loader->epoch;
    s->position = (uint32_t)loader->position;
    s->state = SLOT_FILLING;
    loader->filling = s;
    if (++loader->position == slad_loader_batches(loader)) {
        loader->position = 0;
        loader->epoch++;
    }
}

static slad_status make_pixels(slad_context *context, float *pixels, const slad_loader *loader, uint32_t epoch,
                               uint32_t index)
{
    slad_status status = SLAD_OK;
    slad_image image = {0};
    const slad_loader_options *options = &loader->options;
    if (loader->has_tensors) return slad_dataset_read_tensor(context, pixels, loader->dataset, loader->split, index);
    SLAD_TRY(slad_dataset_read_image(context, &image, loader->dataset, loader->split, index));
    slad_random random = slad_random_start(options->seed, SLAD_RANDOM_AUGMENT, epoch, index);
    if (options->augmentation == SLAD_AUGMENT_CROP_FLIP) {
        SLAD_TRY(slad_preprocess_crop_flip(context, pixels, loader->preprocess, &image, options->scale_low,
                                           options->scale_high, &random));
    } else if (options->augmentation == SLAD_AUGMENT_STRONG) {
        SLAD_TRY(slad_preprocess_strong(context, pixels, loader->preprocess, &image, options->scale_low,
                                        options->scale_high, &random));
    } else {
        SLAD_TRY(slad_preprocess_evaluate(context, pixels, loader->preprocess, &image));
    }
cleanup:
    slad_image_free(&image);
    return status;
}

/* Fills one row. Runs without the lock. *problem: owned by the caller, set if the image is broken or an error occurs.
 */
static slad_status fill_row(slad_context *context, char **problem, const slad_loader *loader, slad_batch *batch,
                            uint32_t epoch, size_t row)
{
    const size_t values = 3 * batch->height * batch->width;
    float *pixels = batch->pixel_values + row * values;
    slad_status status = SLAD_OK;
    *problem = NULL;
    if (row < batch->count) {
        status = make_pixels(context, pixels, loader, epoch, batch->indices[row]);
        if (status != SLAD_OK) (void)slad_duplicate(NULL, problem, slad_context_message(context));
    }
    const bool usable = row < batch->count && status == SLAD_OK;
    const int32_t label = usable ? slad_dataset_label(loader->dataset, loader->split, batch->indices[row]) : -1;
    batch->labels[row] = label >= 0 ? label : 0;
    batch->task_weights[row] = label >= 0 ? 1.0f : 0.0f;
    batch->kl_weights[row] = usable ? 1.0f : 0.0f;
    if (!usable) memset(pixels, 0, values * sizeof *pixels);
    const bool skipped = status == SLAD_ERROR_DATA && !loader->has_tensors && !slad_dataset_is_strict(loader->dataset);
    if (skipped) return *problem ? SLAD_OK : SLAD_ERROR_OUT_OF_MEMORY;
    return status;
}

/* Notes what became of a row, and returns whether it was the batch's last. The caller holds the lock; the slot takes
 * over `problem`. */
static bool finish_row(slad_loader *loader, slot *s, size_t row, slad_status status, char *problem)
{
    if (status == SLAD_OK) {
        s->problems[row] = problem;
    } else if (s->status == SLAD_OK || row < s->failed_row) {
        slad_release(s->failure);
        s->status = status;
        s->failed_row = row;
        s->failure = problem;
    } else {
        slad_release(problem);
    }
    s->done++;
    if (!loader->running) slad_condition_signal_all(loader->changed);
    return s->done == s->batch.capacity;
}

/* Mixes a batch whose rows are all finished, and makes it ready. The caller holds the lock. */
static void finish_batch(slad_loader *loader, slot *s)
{
    const slad_loader_options *options = &loader->options;
    if (s->batch.mix) {
        s->mixing = true;
        slad_lock_release(loader->lock);
        slad_random random = slad_random_start(options->seed, SLAD_RANDOM_MIX, s->epoch, s->position);
        const slad_mixing mixing =
            slad_mixing_draw(&random, options->mixup, options->cutmix, loader->height, loader->width);
        slad_mixing_apply(&s->batch, &mixing);
        slad_lock_acquire(loader->lock);
        s->mixing = false;
    }
    s->state = SLOT_READY;
    slad_condition_signal_all(loader->changed);
}

static void work(void *user)
{
    const worker *self = user;
    slad_loader *loader = self->loader;
    slad_lock_acquire(loader->lock);
    while (!loader->stopping) {
        if (loader->running && !loader->filling) begin_batch(loader);
        slot *s = loader->filling;
        if (!loader->running || !s) {
            slad_condition_wait(loader->changed, loader->lock);
            continue;
        }
        const size_t row = s->taken++;
        if (s->taken == s->batch.capacity) loader->filling = NULL;
        slad_lock_release(loader->lock);
        char *problem = NULL;
        const slad_status status = fill_row(self->context, &problem, loader, &s->batch, s->epoch, row);
        slad_lock_acquire(loader->lock);
        if (finish_row(loader, s, row, status, problem)) finish_batch(loader, s);
    }
    slad_lock_release(loader->lock);
}

static slad_status slot_create(slad_context *context, slad_loader *loader, slot *s)
{
    slad_status status = SLAD_OK;
    slad_batch *batch = &s->batch;
    const size_t rows = loader->options.batch;
    batch->capacity = rows;
    batch->height = loader->height;
    batch->width = loader->width;
    SLAD_TRY(slad_allocate(context, &batch->pixel_values, rows,
                           3 * loader->height * loader->width * sizeof *batch->pixel_values, "batch of images"));
    SLAD_TRY(slad_allocate(context, &batch->labels, rows, sizeof *batch->labels, "batch"));
    SLAD_TRY(slad_allocate(context, &batch->task_weights, rows, sizeof *batch->task_weights, "batch"));
    SLAD_TRY(slad_allocate(context, &batch->kl_weights, rows, sizeof *batch->kl_weights, "batch"));
    SLAD_TRY(slad_allocate(context, &batch->indices, rows, sizeof *batch->indices, "batch"));
    if (loader->options.mixup > 0 || loader->options.cutmix > 0) {
        SLAD_TRY(slad_allocate(context, &batch->labels_2, rows, sizeof *batch->labels_2, "batch"));
        SLAD_TRY(slad_allocate(context, &batch->mix, rows, sizeof *batch->mix, "batch"));
    }
    SLAD_TRY(slad_allocate(context, &s->problems, rows, sizeof *s->problems, "batch"));
cleanup:
    return status;
}

static slad_status check_options(slad_context *context, const slad_loader_options *options)
{
    slad_status status = SLAD_OK;
    SLAD_FAIL_IF(options->batch == 0, SLAD_ERROR_USAGE, "the batch size must be at least 1");
    SLAD_FAIL_IF(options->slots < 2, SLAD_ERROR_USAGE, "the loader needs at least 2 slots, not %u", options->slots);
    SLAD_FAIL_IF(options->workers > WORKERS_LIMIT, SLAD_ERROR_USAGE, "%u loader threads are more than %d",
                 options->workers, WORKERS_LIMIT);
    SLAD_FAIL_IF(
        options->augmentation != SLAD_AUGMENT_NONE &&
            !(options->scale_low > 0.0 && options->scale_low <= options->scale_high && options->scale_high <= 1.0),
        SLAD_ERROR_USAGE, "the scale of crops is %g to %g; it must lie within 0 and 1, the lower value first",
        options->scale_low, options->scale_high);
    SLAD_FAIL_IF(!(options->mixup >= 0 && options->cutmix >= 0 && options->mixup + options->cutmix < INFINITY),
                 SLAD_ERROR_USAGE, "the alphas of mixup and CutMix are %g and %g; they must be finite and not below 0",
                 options->mixup, options->cutmix);
cleanup:
    return status;
}

/* All batches in flight must fit the host's memory, which systems promise before they have it. Half of it at most: a
 * second loader, the model and the driver need some too. */
static slad_status check_memory(slad_context *context, const slad_loader *loader)
{
    slad_status status = SLAD_OK;
    const double mebibyte = 1024.0 * 1024.0, total = (double)slad_physical_memory();
    const double image = 3.0 * (double)loader->height * (double)loader->width * sizeof(float);
    const double needed = image * loader->options.slots * (double)loader->options.batch;
    SLAD_FAIL_IF(
        total > 0 && needed > total / 2, SLAD_ERROR_OUT_OF_MEMORY,
        "%u batches of %zu images of %zu x %zu pixels take %.0f MiB, but this machine has %.0f MiB; batches of "
        "%.0f images would fit",
        loader->options.slots, loader->options.batch, loader->height, loader->width, needed / mebibyte,
        total / mebibyte, floor(total / 2 / image / loader->options.slots));
cleanup:
    return status;
}

static slad_status start_workers(slad_context *context, slad_loader *loader)
{
    slad_status status = SLAD_OK;
    uint32_t wanted = loader->options.workers;
    if (wanted == 0) wanted = slad_processor_count();
    if (loader->options.workers == 0 && wanted > WORKERS_DEFAULT) wanted = WORKERS_DEFAULT;
    SLAD_TRY(slad_allocate(context, &loader->workers, wanted, sizeof *loader->workers, "loader threads"));
    for (uint32_t i = 0; i < wanted; i++) {
        worker *w = &loader->workers[i];
        w->loader = loader;
        loader->worker_count = i + 1;
        SLAD_TRY(slad_context_create(&w->context, NULL, SLAD_LOG_ERROR));
        SLAD_TRY(slad_thread_start(context, &w->thread, work, w));
    }
cleanup:
    return status;
}

slad_status slad_loader_create(slad_context *context, slad_loader **out, const slad_dataset *dataset, slad_split split,
                               const slad_preprocess *preprocess, const slad_loader_options *options)
{
    slad_status status = SLAD_OK;
    slad_loader *loader = NULL;
    *out = NULL;
    SLAD_TRY(check_options(context, options));
    SLAD_TRY(slad_allocate(context, &loader, 1, sizeof *loader, "loader"));
    loader->context = context;
    loader->dataset = dataset;
    loader->split = split;
    loader->preprocess = preprocess;
    loader->options = *options;
    loader->image_count = slad_dataset_count(dataset, split);
    if (split == SLAD_SPLIT_TRAIN) loader->image_count += slad_dataset_unlabelled_count(dataset);
    SLAD_FAIL_IF(loader->image_count == 0, SLAD_ERROR_DATA, "the data set has no images in this part");
    loader->has_tensors = slad_dataset_tensor_size(dataset, &loader->height, &loader->width);
    if (!loader->has_tensors) {
        loader->height = preprocess->crop_height;
        loader->width = preprocess->crop_width;
    }
    SLAD_TRY(check_memory(context, loader));
    SLAD_TRY(slad_lock_create(context, &loader->lock));
    SLAD_TRY(slad_condition_create(context, &loader->changed));
    SLAD_TRY(slad_allocate(context, &loader->order, loader->image_count, sizeof *loader->order, "order of images"));
    SLAD_TRY(slad_allocate(context, &loader->broken, loader->image_count, sizeof *loader->broken, "broken images"));
    SLAD_TRY(slad_allocate(context, &loader->slots, options->slots, sizeof *loader->slots, "loader slots"));
    for (uint32_t i = 0; i < options->slots; i++) SLAD_TRY(slot_create(context, loader, &loader->slots[i]));
    SLAD_TRY(start_workers(context, loader));
    *out = loader;
    loader = NULL;
cleanup:
    slad_loader_free(loader);
    return status;
}

static void stop_workers(slad_loader *loader)
{
    if (!loader->workers) return;
    slad_lock_acquire(loader->lock);
    loader->stopping = true;
    slad_condition_signal_all(loader->changed);
    slad_lock_release(loader->lock);
    for (uint32_t i = 0; i < loader->worker_count; i++) {
        slad_thread_join(loader->workers[i].thread);
        slad_context_free(loader->workers[i].context);
    }
    slad_release(loader->workers);
}

void slad_loader_free(slad_loader *loader)
{
    if (!loader) return;
    stop_workers(loader);
    for (uint32_t i = 0; loader->slots && i < loader->options.slots; i++) {
        slot *s = &loader->slots[i];
        if (s->problems) slot_clear(loader, s);
        slad_release((void *)s->problems);
        slad_release(s->batch.pixel_values);
        slad_release(s->batch.labels);
        slad_release(s->batch.labels_2);
        slad_release(s->batch.mix);
        slad_release(s->batch.task_weights);
        slad_release(s->batch.kl_weights);
        slad_release(s->batch.indices);
    }
    slad_release(loader->slots);
    slad_release(loader->order);
    slad_release(loader->broken);
    slad_condition_free(loader->changed);
    slad_lock_free(loader->lock);
    slad_release(loader);
}

/* Whether a worker is still busy with a batch that is being filled. */
static bool rows_in_work(const slad_loader *loader)
{
    for (uint32_t i = 0; i < loader->options.slots; i++)
        if (loader->slots[i].state == SLOT_FILLING &&
            (loader->slots[i].mixing || loader->slots[i].done < loader->slots[i].taken))
            return true;
    return false;
}

/* Drops all batches that are not held and goes to a place. The caller holds the lock; rows are not given out after it.
 */
static void go_to(slad_loader *loader, uint32_t epoch, size_t first)
{
    loader->running = false;
    while (rows_in_work(loader)) slad_condition_wait(loader->changed, loader->lock);
    for (uint32_t i = 0; i < loader->options.slots; i++)
        if (loader->slots[i].state != SLOT_HELD) slot_clear(loader, &loader->slots[i]);
    loader->filling = NULL;
    loader->next_given = loader->next_begun;
    loader->epoch = epoch;
    loader->position = first;
}

void slad_loader_restrict(slad_loader *loader, bool labelled_only)
{
    slad_lock_acquire(loader->lock);
    go_to(loader, 0, 0);
    loader->image_count = slad_dataset_count(loader->dataset, loader->split);
    if (!labelled_only && loader->split == SLAD_SPLIT_TRAIN)
        loader->image_count += slad_dataset_unlabelled_count(loader->dataset);
    loader->has_order = false;
    slad_lock_release(loader->lock);
}

slad_status slad_loader_seek(slad_loader *loader, uint32_t epoch, size_t first)
{
    slad_status status = SLAD_OK;
    slad_context *context = loader->context;
    SLAD_FAIL_IF(first >= slad_loader_batches(loader), SLAD_ERROR_USAGE,
                 "an epoch has %zu batches; there is no batch %zu", slad_loader_batches(loader), first);
    slad_lock_acquire(loader->lock);
    go_to(loader, epoch, first);
    loader->running = true;
    slad_condition_signal_all(loader->changed);
    slad_lock_release(loader->lock);
cleanup:
    return status;
}

/* Waits until the next batch is complete; NULL if the caller holds all slots. */
static slot *wait_for_next(slad_loader *loader)
{
    slot *next = NULL;
    slad_lock_acquire(loader->lock);
    if (!loader->running) {
        loader->running = true;
        slad_condition_signal_all(loader->changed);
    }
    for (;;) {
        uint32_t held = 0;
        for (uint32_t i = 0; i < loader->options.slots; i++) {
            slot *s = &loader->slots[i];
            held += s->state == SLOT_HELD;
            if (s->state == SLOT_READY && s->sequence == loader->next_given) next = s;
        }
        if (next || held == loader->options.slots) break;
        slad_condition_wait(loader->changed, loader->lock);
    }
    if (next && next->status == SLAD_OK) {
        next->state = SLOT_HELD;
        loader->next_given++;
    }
    slad_lock_release(loader->lock);
    return next;
}

/* Warns of the broken images of a batch that were not met before. */
static void note_problems(slad_loader *loader, const slot *s)
{
    for (size_t row = 0; row < s->batch.count; row++) {
        const uint32_t index = s->batch.indices[row];
        if (!s->problems[row] || loader->broken[index]) continue;
        loader->broken[index] = true;
        loader->broken_count++;
        slad_log(loader->context, SLAD_LOG_WARNING, "skipped: %s", s->problems[row]);
    }
}

slad_status slad_loader_next(slad_loader *loader, const slad_batch **batch)
{
    slad_status status = SLAD_OK;
    slad_context *context = loader->context;
    *batch = NULL;
    slot *s = wait_for_next(loader);
    SLAD_FAIL_IF(!s, SLAD_ERROR_USAGE, "all %u batches of the loader are held; release one before the next",
                 loader->options.slots);
    SLAD_FAIL_IF(s->status != SLAD_OK, s->status, "%s",
                 s->failure ? s->failure : "no host memory to decode an image; use fewer workers");
    note_problems(loader, s);
    if (loader->broken_count == loader->image_count) {
        slad_loader_release(loader, &s->batch);
        SLAD_FAIL_IF(true, SLAD_ERROR_DATA,
                     "all %zu images of this part of the data set are broken; the warnings above say why",
                     loader->image_count);
    }
    *batch = &s->batch;
cleanup:
    return status;
}

void slad_loader_release(slad_loader *loader, const slad_batch *batch)
{
    slad_lock_acquire(loader->lock);
    for (uint32_t i = 0; i < loader->options.slots; i++)
        if (&loader->slots[i].batch == batch) slot_clear(loader, &loader->slots[i]);
    slad_condition_signal_all(loader->changed);
    slad_lock_release(loader->lock);
}
