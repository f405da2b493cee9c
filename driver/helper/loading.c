/* Loads rules from the core. The tracer or debugger takes the request, another thread copies and validates
 * the block, then the first puts it in force and replies: thousands of rules take too long for stopped
 * tasks. */
#include "cbp_atomic.h"
#include "helper.h"

void cbpd_begin_loading(struct cbpd_helper *helper, const struct cbp_rules *request)
{
    helper->loading.request = *request;
    helper->loading.set = NULL;
    cbp_store_u32(&helper->loading.state, CBPD_LOADING_WANTED);
}

bool cbpd_is_loading(const struct cbpd_helper *helper, enum cbpd_loading_state state)
{
    return cbp_load_u32(&helper->loading.state) == (uint32_t) state;
}

bool cbpd_load_wanted_rules(struct cbpd_helper *helper)
{
    struct cbpd_loading *loading = &helper->loading;
    void *block = NULL;
    if (!cbpd_is_loading(helper, CBPD_LOADING_WANTED))
        return false;
    loading->status = helper->host->copy_rules(helper, &block);
    if (loading->status == 0)
        loading->status = cbpd_make_rule_set(helper->policy.host, block, (size_t) loading->request.block_size,
                                             &loading->set);
    cbp_store_u32(&loading->state, CBPD_LOADING_DONE);
    return true;
}

struct cbp_reply cbpd_finish_loading(struct cbpd_helper *helper)
{
    struct cbpd_loading *loading = &helper->loading;
    uint64_t failed_rule_id = 0;
    if (loading->status == 0)
        loading->status = cbpd_serve_rules(helper, &loading->request, loading->set, &failed_rule_id);
    cbp_store_u32(&loading->state, CBPD_LOADING_IDLE);
    return cbpd_reply_to(helper, &loading->request.header, loading->status, failed_rule_id);
}
