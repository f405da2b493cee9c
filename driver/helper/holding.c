/* Holds tasks until operations have their answers. Knows no stops and no slots. */
#include "helper.h"

void cbpd_hold(struct cbpd_task *task, struct cbpd_held *held, uint32_t kind)
{
    held->task = task;
    held->kind = kind;
    task->held = held;
}

bool cbpd_is_held(struct cbpd_helper *helper, struct cbpd_task *task, const struct cbpd_report *report,
                  uint32_t kind, uint32_t *result_code)
{
    struct cbpd_held *held = NULL;
    struct cbpd_refusal refusal = {.code = report->request.result_code};
    cbpd_post(helper, report, &held, &refusal, NULL);
    *result_code = refusal.code;
    if (held)
        cbpd_hold(task, held, kind);
    return held;
}
