/* Every method and sharing option against PyTorch (tests/oracle/make_methods.py): all gradients of the first step, and
 * the losses of ten, of every stage. Micro-batches are of three images of six, so that gradients add up, and the last
 * batch of an epoch is padded. */
#include "methods_fixture.h"

#include "train/stages.h"
#include "train/trained_files.h"
#include "train/trainer.h"

#define BOUND      5e-5 /* of losses, and of the norm of a gradient's error over the gradient's */
#define NORM_BOUND 1e-4 /* of the norm of all gradients */

static const method_case cases[] = {
    {"finetune", {{"method", "finetune"}}},
    {"split", {{"method", "lora"}, {"lora-form", "split"}}},
    {"targets_all", {{"method", "lora"}, {"lora-targets", "all"}}},
    {"split_all", {{"method", "lora"}, {"lora-form", "split"}, {"lora-targets", "all"}}},
    {"kd_probe", {{"method", "kd-probe"}}},
    {"kd_lora", {{"method", "kd-lora"}}},
    {"kd_finetune", {{"method", "kd-finetune"}}},
    {"teacher_probe", {{"method", "joint"}, {"teacher-adapt", "probe"}}},
    {"teacher_all", {{"method", "joint"}, {"teacher-adapt", "all"}}},
    {"student_all", {{"method", "joint"}, {"student-adapt", "all"}}},
    {"student_probe", {{"method", "joint"}, {"student-adapt", "probe"}}},
    {"share_a", {{"share", "a"}}},
    {"share_b", {{"share", "b"}}},
    {"even_a", {{"share-map", "even-a"}}},
    {"even_b", {{"share-map", "even-b"}}},
    {"even_c", {{"share-map", "even-c"}}},
    {"first", {{"share-map", "first"}}},
    {"last", {{"share-map", "last"}}},
    {"list", {{"share-map", "3,-1"}}},
    {"list_twice", {{"share-map", "2,2"}}},
    {"naive", {{"share-truncation", "naive"}}},
    {"fan_in", {{"share-scale", "fan-in"}}},
    {"unmapped", {{"unmapped", "frozen"}}},
    {"shared_split", {{"lora-form", "split"}}},
    {"shared_all", {{"lora-targets", "all"}}},
    {"shared_split_all", {{"lora-form", "split"}, {"lora-targets", "all"}, {"share-map", "last"}}},
    {"private", {{"private-rank", "2"}}},
    {"private_split", {{"private-rank", "2"}, {"lora-form", "split"}, {"share", "a"}, {"share-map", "-1,1"}}},
    {"plus", {{"lora-plus", "4"}}},
    {"ema", {{"ema", "0.7"}}},
    {"feature_cls", {{"feature-loss", "cls"}}},
    {"feature_patch", {{"feature-loss", "patch"}}},
    {"feature_registers", {{"feature-loss", "patch"}, {"teacher", "giant"}}},
    {"finetune_giant", {{"method", "finetune"}, {"student", "giant"}}},
    {"finetune_vit", {{"method", "finetune"}, {"student", "vit"}, {"head", "cls"}}},
    {"giant", {{"lora-targets", "all"}, {"teacher", "giant"}, {"student", "giant"}}},
    {"vit", {{"lora-targets", "all"}, {"student", "vit"}, {"head", "cls"}}},
    {"dropout", {{"lora-dropout", "0.2"}}},
    {"dropout_all",
     {{"lora-dropout", "0.1"},
      {"private-rank", "2"},
      {"lora-form", "split"},
      {"lora-targets", "all"},
      {"share-map", "3,-1"}}},
    {"dropout_kd", {{"method", "kd-lora"}, {"lora-dropout", "0.3"}}},
    {"dropout_probe", {{"method", "kd-probe"}, {"lora-dropout", "0.3"}}},
    {"head_init", {{"head-init", "probe"}}},
    {"smoothing", {{"label-smoothing", "0.1"}}},
    {"mixed", {{"mixup", "0.8"}}},
    {"mixed_smoothing", {{"method", "lora"}, {"cutmix", "1"}, {"label-smoothing", "0.1"}}},
    {"mixed_kd", {{"method", "kd-lora"}, {"mixup", "0.8"}, {"cutmix", "1"}, {"label-smoothing", "0.2"}}},
};
enum { CASES = sizeof cases / sizeof *cases };

/* These are tried with local memory, barriers, narrow vectors, launches in pieces and CLBlast too. */
static const char *const tried_as_on_a_gpu[] = {"finetune",      "kd_finetune", "shared_split_all", "private_split",
                                                "feature_patch", "mixed_kd",    "dropout_all"};
enum { GPU_CASES = sizeof tried_as_on_a_gpu / sizeof *tried_as_on_a_gpu };

/* A case on one of the devices. */
typedef struct method_run {
    char name[64];
    const method_case *test;
    bool like_a_gpu;
} method_run;

static method_run runs[CASES + GPU_CASES];

/* One stage of a case. */
typedef struct stage {
    char name[64]; /* in the fixture: CASE, or CASE.first */
    slad_train_options options;
    const method_run *run;
    slad_trainer *trainer;
} stage;

static size_t trained_count(const stage *s)
{
    return slad_store_trained_count(s->trainer->store);
}

static const slad_tensor *trained_at(const stage *s, size_t i)
{
    return slad_store_trained_at(s->trainer->store, i)->tensor;
}

static bool is_of_encoder(const char *name)
{
    return strstr(name, ".model.") != NULL;
}

/* Adapters, heads and projection get the script's initial values; encoders that are trained start as their files say.
 */
static void initialise(const stage *s)
{
    char name[160];
    for (size_t i = 0; i < trained_count(s); i++) {
        const slad_tensor *tensor = trained_at(s, i);
        const size_t elements = slad_tensor_elements(tensor);
        if (is_of_encoder(tensor->name)) continue;
        float *values = malloc(elements * sizeof *values);
        assert_non_null(values);
        (void)snprintf(name, sizeof name, "init.%s", tensor->name);
        formula_tensor(values, elements, name, strstr(name, ".head.") ? 0.1 : 0.3, 0);
        methods_require(slad_executor_write(s->trainer->executor, NULL, tensor, values), s->name);
        free(values);
    }
}

/* The micro-batch phase over the first batch, after which the gradients of step 0 can be read. */
static void run_first_batch(const stage *s)
{
    const slad_trainer *trainer = s->trainer;
    const slad_pass *pass = &trainer->training;
    const slad_batch batch = methods_batch(&s->options, 0);
    slad_executor *executor = trainer->executor;
    float values[SLAD_STEP_VALUES] = {0};
    values[SLAD_STEP_INVERSE_TASK] = values[SLAD_STEP_INVERSE_KL] = 1.0f / BATCH;
    const int32_t key[4] = {SEED};
    methods_require(slad_executor_write(executor, NULL, trainer->step_values, values), s->name);
    if (trainer->mask_key) methods_require(slad_executor_write(executor, NULL, trainer->mask_key, key), s->name);
    for (size_t i = 0; i < BATCH; i += MICRO_BATCH) {
        const float *pixels = batch.pixel_values + i * 3 * SIZE * SIZE;
        methods_require(slad_executor_write(executor, pass->record, pass->pixels, pixels), s->name);
        methods_require(slad_executor_write(executor, pass->record, pass->labels, batch.labels + i), s->name);
        if (batch.mix) {
            methods_require(slad_executor_write(executor, pass->record, pass->labels_2, batch.labels_2 + i), s->name);
            methods_require(slad_executor_write(executor, pass->record, pass->mix, batch.mix + i), s->name);
        }
        if (pass->samples)
            methods_require(slad_executor_write(executor, pass->record, pass->samples, trainer->samples + i), s->name);
        methods_require(slad_executor_write(executor, pass->record, pass->task_weights, batch.task_weights + i),
                        s->name);
        methods_require(slad_executor_write(executor, pass->record, pass->kl_weights, batch.kl_weights + i), s->name);
        methods_require(slad_executor_run(executor, pass->record, SLAD_PHASE_MICRO_BATCH), s->name);
    }
}

/* A tensor "STAGE.what.NAME" of the fixture. The caller frees. */
static float *expected_of(const stage *s, const char *what, const char *name, size_t *count)
{
    char full[256];
    (void)snprintf(full, sizeof full, "%s.%s%s%s", s->name, what, name ? "." : "", name ? name : "");
    return fixture_read(methods.own, methods.fixture, full, count);
}

/* The norm of the difference over that of what is expected. */
static double relative_error(const float *measured, const float *expected, size_t count, double floor)
{
    double off = 0, squares = 0;
    for (size_t i = 0; i < count; i++) {
        assert_true(isfinite(measured[i]));
        off += pow((double)measured[i] - (double)expected[i], 2);
        squares += pow((double)expected[i], 2);
    }
    return sqrt(off) / fmax(sqrt(squares), floor);
}

/* Softmax does not see a constant that is added to all scores, so the gradient of the keys' bias is 0 but for rounding:
 * it is held to the size of gradients at large. */
static double floor_of(const char *name)
{
    return strstr(name, "key.bias") ? 0.05 : 1e-12;
}

/* Compares one part of a trained tensor with the fixture's tensor of its name. */
static double check_part(const stage *s, const char *what, slad_slab_kind kind, const slad_tensor *tensor, size_t part)
{
    char name[SLAD_TRAINED_NAME];
    size_t count;
    slad_trained_part_name(name, "", tensor, part);
    float *expected = expected_of(s, what, name, &count);
    assert_int_equal(count * slad_trained_parts(tensor), slad_tensor_elements(tensor));
    float *measured = malloc(count * sizeof *measured);
    assert_non_null(measured);
    methods_require(slad_trained_read_part(methods.own->context, measured, s->trainer->executor, tensor, part, kind),
                    s->name);
    const double error = relative_error(measured, expected, count, floor_of(name));
    if (!(error <= BOUND)) fail_msg("%s: the %s of %s is off by %.3g", s->name, what, name, error);
    free(measured);
    free(expected);
    return error;
}

/* Compares what is in one of the slabs with the fixture; returns the largest error. */
static double check_tensors(const stage *s, const char *what, slad_slab_kind kind)
{
    double worst = 0;
    for (size_t i = 0; i < trained_count(s); i++)
        for (size_t part = 0; part < slad_trained_parts(trained_at(s, i)); part++)
            worst = fmax(worst, check_part(s, what, kind, trained_at(s, i), part));
    return worst;
}

/* Everything that the script trains is trained here. */
static void check_names(const stage *s)
{
    char prefix[96];
    size_t expected = 0;
    (void)snprintf(prefix, sizeof prefix, "%s.gradient.", s->name);
    for (size_t i = 0; i < slad_safetensors_count(methods.fixture); i++)
        expected += strncmp(slad_safetensors_at(methods.fixture, i)->name, prefix, strlen(prefix)) == 0;
    size_t trained = 0;
    for (size_t i = 0; i < trained_count(s); i++) trained += slad_trained_parts(trained_at(s, i));
    assert_int_equal(trained, expected);
}

/* As before the first batch. */
static void clear_gradients(const stage *s)
{
    const float sums[SLAD_ACCUMULATORS] = {0};
    for (size_t i = 0; i < trained_count(s); i++) {
        const slad_tensor *tensor = trained_at(s, i);
        float *zeros = calloc(slad_tensor_elements(tensor), sizeof *zeros);
        assert_non_null(zeros);
        methods_require(slad_executor_write_slab(s->trainer->executor, tensor, SLAD_SLAB_GRADIENT, zeros), s->name);
        free(zeros);
    }
    methods_require(slad_executor_write(s->trainer->executor, NULL, s->trainer->accumulators, sums), s->name);
}

typedef struct course {
    double losses[STEPS][LOSSES], norms[STEPS];
} course;

static void keep(course *kept, const slad_step_report *report)
{
    double *row = kept->losses[report->step];
    row[0] = report->loss;
    row[1] = report->loss_student;
    row[2] = report->loss_teacher;
    row[3] = report->loss_kl;
    row[4] = report->loss_feature;
    kept->norms[report->step] = report->gradient_norm;
}

static void train(const stage *s, course *kept)
{
    slad_step_report report;
    slad_batch batches[2]; /* the one in flight must stay */
    bool has_report;
    for (size_t step = 0; step < STEPS; step++) {
        batches[step % 2] = methods_batch(&s->options, step);
        methods_require(slad_trainer_step(s->trainer, &batches[step % 2], &report, &has_report), s->name);
        assert_int_equal(has_report, step > 0);
        if (has_report) keep(kept, &report);
    }
    methods_require(slad_trainer_finish(s->trainer, &report, &has_report), s->name);
    assert_true(has_report);
    keep(kept, &report);
}

static double check_losses(const stage *s, const course *kept)
{
    double worst = 0;
    float *expected = expected_of(s, "losses", NULL, NULL), *norms = expected_of(s, "norms", NULL, NULL);
    for (size_t step = 0; step < STEPS; step++) {
        for (size_t i = 0; i < LOSSES; i++) {
            const double wanted = (double)expected[step * LOSSES + i], got = kept->losses[step][i];
            if (isnan(wanted) && isnan(got)) continue;
            const double error = fabs(got - wanted) / fabs(wanted);
            if (!(error <= BOUND))
                fail_msg("%s: loss %zu of step %zu is %.9g, not %.9g", s->name, i, step, got, wanted);
            worst = fmax(worst, error);
        }
        const double wanted = (double)norms[step], error = fabs(kept->norms[step] - wanted) / wanted;
        if (!(error <= NORM_BOUND))
            fail_msg("%s: the gradient's norm of step %zu is %.9g, not %.9g", s->name, step, kept->norms[step], wanted);
    }
    free(expected);
    free(norms);
    return worst;
}

/* Makes the stage's trainer; `before` is the state that the stage before it left, or NULL. */
static void open_stage(stage *s, const slad_safetensors *before, const slad_train_options *first)
{
    const method_case *test = s->run->test;
    slad_encoder *teacher = methods.teachers[methods_kind(test, "teacher")];
    slad_encoder *student = methods.students[methods_kind(test, "student")];
    slad_trainer_setup setup = {
        .teacher = s->options.teacher_adapt == SLAD_ADAPT_NONE ? NULL : teacher,
        .student = s->options.student_adapt == SLAD_ADAPT_NONE ? NULL : student,
        .options = &s->options,
        .classes = CLASSES,
        .image_size = SIZE,
        .total_steps = STEPS,
    };
    const bool frozen = s->options.teacher_adapt == SLAD_ADAPT_FROZEN;
    if (frozen)
        setup.frozen = (slad_network_source){
            .encoder = teacher,
            .state = before,
            .prefix = "teacher.",
            .adapt = first->teacher_adapt,
            .options = first,
            .head = first->head,
            .classes = CLASSES,
        };
    methods_require(slad_trainer_build(methods.own->context, &s->trainer, methods.devices[s->run->like_a_gpu], &setup),
                    s->name);
    initialise(s);
    if (before && !frozen) /* heads that were trained alone */
        methods_require(slad_trainer_start_from(s->trainer, slad_safetensors_path(before)), s->name);
}

static void check_stage(stage *s)
{
    course kept;
    check_names(s);
    run_first_batch(s);
    const double gradients = check_tensors(s, "gradient", SLAD_SLAB_GRADIENT);
    clear_gradients(s);
    train(s, &kept);
    const double losses = check_losses(s, &kept);
    print_message("%s: %zu gradients within %.2g, losses within %.2g\n", s->name, trained_count(s), gradients, losses);
    if (s->options.ema > 0) (void)check_tensors(s, "average", SLAD_SLAB_AVERAGE);
}

static void check_case(void **state)
{
    const method_run *run = *state;
    const method_case *test = run->test;
    slad_stage stages[SLAD_MOST_STAGES];
    const slad_train_options options = methods_options(test);
    methods_require(slad_train_options_check(methods.own->context, &options), test->name);
    const size_t count = slad_stages_of(stages, &options);
    slad_safetensors *before = NULL;
    stage *made = calloc(count, sizeof *made);
    assert_non_null(made);
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(made[i].name, sizeof made[i].name, "%s%s", test->name, i + 1 < count ? ".first" : "");
        made[i].options = stages[i].options;
        made[i].run = run;
        open_stage(&made[i], before, i > 0 ? &made[i - 1].options : NULL);
        check_stage(&made[i]);
        if (i + 1 == count) continue;
        methods_require(slad_trainer_save(made[i].trainer, methods.own->folder), test->name);
        methods_require(
            slad_safetensors_open(methods.own->context, &before, scratch_path(methods.own, "state.safetensors")),
            test->name);
    }
    for (size_t i = 0; i < count; i++) slad_trainer_free(made[i].trainer);
    slad_safetensors_close(before);
    free(made);
}

static const method_case *case_called(const char *name)
{
    for (size_t i = 0; i < CASES; i++)
        if (strcmp(cases[i].name, name) == 0) return &cases[i];
    abort();
}

int main(void)
{
    struct CMUnitTest tests[CASES + GPU_CASES];
    for (size_t i = 0; i < CASES + GPU_CASES; i++) {
        method_run *run = &runs[i];
        run->like_a_gpu = i >= CASES;
        run->test = run->like_a_gpu ? case_called(tried_as_on_a_gpu[i - CASES]) : &cases[i];
        (void)snprintf(run->name, sizeof run->name, "%s%s", run->test->name, run->like_a_gpu ? " as on a GPU" : "");
        tests[i] = (struct CMUnitTest){.name = run->name, .test_func = check_case, .initial_state = run};
    }
    return cmocka_run_group_tests(tests, methods_open, methods_close);
}
