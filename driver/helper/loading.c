/* Loads rules from the core. The tracer or debugger takes the request, another thread validates the block,
 * then the first puts it in force and replies: thousands of rules take too long for stopped tasks. */
#include "cbp_atomic.h"
#include "helper.h"

void cbpd_begin_loading(struct cbpd_loading *loading, const struct cbp_rules *request)
{
    loading->request = *request;
    loading->set = NULL;
    cbp_store_u32(&loading->state, CBPD_LOADING_WANTED);
}

bool cbpd_is_in_state(const struct cbpd_loading *loading, enum cbpd_loading_state state)
{
    return cbp_load_u32(&loading->state) == (uint32_t) state;
}

void cbpd_validate_rules(struct cbpd_loading *loading, const struct cbpd_host *host, uint32_t status,
                         void *block)
{
    loading->status = status;
    if (status == 0)
        loading->status =
            cbpd_make_rule_set(host, block, (size_t) loading->request.block_size, &loading->set);
    cbp_store_u32(&loading->state, CBPD_LOADING_DONE);
}

uint32_t cbpd_finish_loading(struct cbpd_helper *helper, struct cbpd_loading *loading, uint64_t *value)
{
    uint32_t status = loading->status;
    if (status == 0)
        status = cbpd_serve_rules(helper, &loading->request, loading->set, value);
    cbp_store_u32(&loading->state, CBPD_LOADING_IDLE);
    return status;
}
