/* Run folders made by hand, small enough for every test: config.json, metrics.jsonl and predictions. */
#ifndef SLAD_TESTS_RUN_FOLDER_H
#define SLAD_TESTS_RUN_FOLDER_H

#include "scratch.h"

#include "train/predicted.h"

typedef struct run_folder {
    const char *name, *method, *options; /* options: ",\"lr\":0.1" behind method and seed */
    unsigned seed;
    const char *fingerprint;
    size_t images, wrong_from, wrong_to; /* the student has these images wrong, and all others right */
    bool teacher;
    const char *student; /* as JSON writes it; NULL: "/s" */
    size_t classes;      /* 0: the three "<cat>", "dog" and "b&w"; else so many "<0>", "<1>", .. */
} run_folder;

static inline void run_folder_file(const scratch *own, const run_folder *run, const char *name, const char *text)
{
    char path[1200];
    (void)snprintf(path, sizeof path, "%s/%s/%s", own->folder, run->name, name);
    assert_int_equal(slad_file_write_all(own->context, path, text, strlen(text)), SLAD_OK);
}

/* Labels are image number modulo classes; what is wrong is taken for the next class. */
static inline void run_folder_predictions(const scratch *own, const run_folder *run)
{
    char path[1100];
    slad_predicted predicted;
    const size_t classes = run->classes ? run->classes : 3;
    (void)snprintf(path, sizeof path, "%s/%s", own->folder, run->name);
    assert_int_equal(slad_predicted_start(own->context, &predicted, run->images, true, run->teacher), SLAD_OK);
    (void)snprintf(predicted.fingerprint, sizeof predicted.fingerprint, "%s", run->fingerprint);
    predicted.validation = true;
    for (size_t i = 0; i < run->images; i++) {
        const bool wrong = i >= run->wrong_from && i < run->wrong_to;
        predicted.labels[i] = (int32_t)(i % classes);
        predicted.student.classes[i] = (int32_t)((i + wrong) % classes);
        predicted.student.probabilities[i] = 0.5f;
        if (run->teacher) predicted.teacher.classes[i] = (int32_t)(i % classes);
    }
    assert_int_equal(slad_predicted_write(own->context, &predicted, path), SLAD_OK);
    slad_predicted_free(&predicted);
}

static inline void run_folder_write(const scratch *own, const run_folder *run)
{
    char text[4096], path[1100], classes[1024] = "\"<cat>\",\"dog\",\"b&w\"";
    const double right = 1 - (double)(run->wrong_to - run->wrong_from) / (double)run->images;
    (void)snprintf(path, sizeof path, "%s/%s", own->folder, run->name);
    assert_int_equal(slad_directory_create(own->context, path), SLAD_OK);
    for (size_t i = 0, used = 0; i < run->classes; i++)
        used += (size_t)snprintf(classes + used, sizeof classes - used, "%s\"<%zu>\"", i ? "," : "", i);
    (void)snprintf(text, sizeof text,
                   "{\"slad_version\":\"1\",\"started\":\"2026-01-02T03:04:05Z\",\"teacher\":%s,\"student\":\"%s\","
                   "\"options\":{\"method\":\"%s\",\"batch\":4,\"seed\":%u%s},\"image_size\":56,\"total_steps\":6,"
                   "\"trained_parameters\":1234,\"data\":{\"path\":\"/nowhere\",\"fingerprint\":\"%s\","
                   "\"train_images\":10,\"validation_images\":%zu,\"classes\":[%s]},"
                   "\"device\":{\"name\":\"D\"},\"memory_plan\":{\"total_bytes\":1048576}}",
                   run->teacher ? "\"/t\"" : "null", run->student ? run->student : "/s", run->method, run->seed,
                   run->options ? run->options : "", run->fingerprint, run->images, classes);
    run_folder_file(own, run, "config.json", text);
    (void)snprintf(
        text, sizeof text,
        "{\"step\":0,\"epoch\":0,\"loss\":2,\"loss_student\":2,\"lr\":0.1,\"images_per_s\":4}\n"
        "{\"step\":1,\"epoch\":0,\"loss\":1.5,\"loss_student\":1.5,\"lr\":0.1,\"images_per_s\":8}\n"
        "{\"step\":2,\"epoch\":0,\"loss\":1,\"loss_student\":1,\"lr\":0.05,\"images_per_s\":8}\n"
        "{\"event\":\"eval\",\"step\":2,\"epoch\":0,\"images\":%zu,\"measure\":\"top1\",\"student\":{\"top1\":"
        "%.9g,\"mean_per_class\":%.9g}%s}\n",
        run->images, right, right, run->teacher ? ",\"teacher\":{\"top1\":1,\"mean_per_class\":1}" : "");
    run_folder_file(own, run, "metrics.jsonl", text);
    run_folder_predictions(own, run);
}

#endif
