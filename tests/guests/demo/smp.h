/* Starting the other processors. */
#ifndef SMP_H
#define SMP_H

#include "firmware.h"

/* Starts every processor that the firmware lists. cpu_count is then the number that came up, this one included. */
void smp_start(const struct firmware *firmware);

#endif
