/*
 * A module of Linux with what a debugger is asked about: types and variables of its own, one of them per CPU, a function
 * that is inlined twice, and a fault.
 *
 *	echo add 7 > /sys/module/ledger/parameters/command	adds an entry
 *	echo fault > /sys/module/ledger/parameters/command	follows a list that was never made
 */
#include <linux/kernel.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/slab.h>
#include <linux/string.h>

struct ledger_entry {
	struct list_head link;
	unsigned int amount;
	char note[8];
};

enum ledger_state { LEDGER_EMPTY, LEDGER_OPEN, LEDGER_BROKEN };

static LIST_HEAD(ledger_entries);
static enum ledger_state ledger_state;
static unsigned long ledger_total;
static DEFINE_PER_CPU(unsigned long, ledger_added);
static struct list_head *ledger_missing;

static __always_inline void ledger_count(unsigned int amount)
{
	ledger_total += amount;
	this_cpu_inc(ledger_added);
}

static noinline int ledger_add(unsigned int amount)
{
	struct ledger_entry *entry = kzalloc(sizeof(*entry), GFP_KERNEL);

	if (!entry)
		return -ENOMEM;
	entry->amount = amount;
	strscpy(entry->note, "paid", sizeof(entry->note));
	list_add_tail(&entry->link, &ledger_entries);
	ledger_state = LEDGER_OPEN;
	ledger_count(amount);
	return 0;
}

static noinline int ledger_follow(struct list_head *head, int depth)
{
	int found = depth * 2;

	ledger_state = LEDGER_BROKEN;
	ledger_count(found);
	return head->next == NULL ? found : -found;
}

static int ledger_command(const char *text, const struct kernel_param *parameter)
{
	unsigned int amount;

	if (sscanf(text, "add %u", &amount) == 1)
		return ledger_add(amount);
	if (strncmp(text, "fault", 5) == 0)
		return ledger_follow(ledger_missing, 21);
	return -EINVAL;
}

static const struct kernel_param_ops ledger_ops = { .set = ledger_command };
module_param_cb(command, &ledger_ops, NULL, 0200);

static int __init ledger_init(void)
{
	pr_info("ledger: open\n");
	return ledger_add(1);
}

static void __exit ledger_exit(void)
{
	struct ledger_entry *entry, *next;

	list_for_each_entry_safe(entry, next, &ledger_entries, link)
		kfree(entry);
	pr_info("ledger: closed in state %d\n", ledger_state);
}

module_init(ledger_init);
module_exit(ledger_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A module that is debugged");
