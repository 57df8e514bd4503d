/* The 8254's channel 2 as a stopwatch, and the 8259s switched off. */
#ifndef PIT_H
#define PIT_H

#include <stdbool.h>

void pic_mask_all(void);
void pit_start_10ms(void);
bool pit_expired(void);

#endif
