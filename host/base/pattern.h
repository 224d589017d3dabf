/* Regular expressions as Python writes them, as far as files from outside need them. */
#ifndef SLAD_BASE_PATTERN_H
#define SLAD_BASE_PATTERN_H

#include "base/error.h"

typedef struct slad_pattern slad_pattern;

/* Compiles (.*\.)?(TEXT)$, matched from the start: how PEFT matches a key of rank_pattern with the path of a module.
 * Understood: literals, escaped punctuation, \d, ".", "|", brackets, groups, "*", "+", "?", "^", "$"; what else Python
 * knows (back references, look-ahead, counts) is SLAD_ERROR_DATA, which names `origin` and the text. Free with
 * slad_pattern_free, which allows NULL. */
slad_status slad_pattern_compile(slad_context *context, slad_pattern **pattern, const char *text, const char *origin);
bool slad_pattern_matches(const slad_pattern *pattern, const char *subject);
void slad_pattern_free(slad_pattern *pattern);

#endif
