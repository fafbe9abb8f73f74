/* NVML's entry points, answering from a text file: what the real nvidia-ml-py loads where there is no GPU.
 *
 * The file is $FAKE_NVML, else /fake-nvml/state, and is read anew in every call, so that a test changes the hardware by
 * writing it. Lines are `key value`:
 *
 *     gpus 2                           number of GPUs
 *     0.uuid GPU-…                     a GPU's text or number; what is not there is NVML_ERROR_NOT_SUPPORTED
 *     0.mig 7                          MIG is on, with so many places
 *     0.mig.3.uuid MIG-…               a MIG device; a place without a uuid is NVML_ERROR_NOT_FOUND
 *     0.xids 79,48                     XIDs that have been reported, oldest first; each comes once as an event
 *     0.processes 101:1048576,102:-    pid:bytes, - for not available
 *     error.nvmlInit 9                 a call fails with this code; error.0.CALL for GPU 0 alone
 *     delay.nvmlDeviceGetCount 3000    a call takes so many milliseconds longer
 *
 * Structures and codes: nvml.h of CUDA 12, as far as nvidia-ml-py declares them.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7,
       TIMEOUT = 10 };
enum { MIG_PLACES = 8, LINE = 512, XID_EVENT = 8 };

typedef int Return;
typedef struct handle { int gpu, mig; } Handle; /* mig -1: the GPU itself */
typedef struct { unsigned int gpu, memory; } Utilization;
typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned int version; unsigned long long total, reserved, free, used; } MemoryV2;
typedef struct { unsigned int pid; unsigned long long bytes; unsigned int gpu_instance, compute_instance; } Process;
typedef struct { Handle *device; unsigned long long type, data; unsigned int gpu_instance, compute_instance; } Event;

enum { MOST_GPUS = 16 };
static Handle handles[MOST_GPUS][MIG_PLACES + 1];
static int initialized, watched[MOST_GPUS], delivered[MOST_GPUS];

static int lookup(const char *key, char *value)
{
    const char *path = getenv("FAKE_NVML");
    FILE *file = fopen(path ? path : "/fake-nvml/state", "r");
    char line[LINE];
    size_t length = strlen(key);
    int found = 0;
    while (file && !found && fgets(line, sizeof line, file)) {
        if (strncmp(line, key, length) == 0 && line[length] == ' ') {
            strcpy(value, line + length + 1);
            value[strcspn(value, "\n")] = 0;
            found = 1;
        }
    }
    if (file)
        fclose(file);
    return found;
}

static long long number(const char *key, long long otherwise)
{
    char value[LINE];
    return lookup(key, value) ? atoll(value) : otherwise;
}

/* What every call does first: fail, or take its time, as the file says. */
static Return enter(const char *call, const Handle *device)
{
    char key[LINE];
    snprintf(key, sizeof key, "delay.%s", call);
    usleep(1000 * (useconds_t)number(key, 0));
    snprintf(key, sizeof key, "error.%s", call);
    Return error = (Return)number(key, SUCCESS);
    if (!error && device) {
        snprintf(key, sizeof key, "error.%d.%s", device->gpu, call);
        error = (Return)number(key, SUCCESS);
    }
    return error ? error : initialized || !strcmp(call, "nvmlInit") ? SUCCESS : UNINITIALIZED;
}

static int text_of(const Handle *device, const char *what, char *value)
{
    char key[LINE];
    if (device->mig < 0)
        snprintf(key, sizeof key, "%d.%s", device->gpu, what);
    else
        snprintf(key, sizeof key, "%d.mig.%d.%s", device->gpu, device->mig, what);
    return lookup(key, value);
}

static Return text(const char *call, const Handle *device, const char *what, char *out, unsigned int size)
{
    char value[LINE];
    Return error = enter(call, device);
    if (error)
        return error;
    if (!text_of(device, what, value))
        return NOT_SUPPORTED;
    if (strlen(value) >= size)
        return INSUFFICIENT_SIZE;
    strcpy(out, value);
    return SUCCESS;
}

static Return count_of(const char *call, const Handle *device, const char *what, unsigned long long *out)
{
    char value[LINE];
    Return error = enter(call, device);
    if (error)
        return error;
    if (!text_of(device, what, value))
        return NOT_SUPPORTED;
    *out = strtoull(value, NULL, 10);
    return SUCCESS;
}

static Return small(const char *call, const Handle *device, const char *what, unsigned int *out)
{
    unsigned long long value;
    Return error = count_of(call, device, what, &value);
    if (!error)
        *out = (unsigned int)value;
    return error;
}

const char *nvmlErrorString(Return error)
{
    (void)error;
    return "Unknown Error"; /* nvidia-ml-py has texts of its own for the codes that it knows */
}

Return nvmlInitWithFlags(unsigned int flags)
{
    (void)flags;
    Return error = enter("nvmlInit", NULL);
    initialized |= !error;
    for (int gpu = 0; gpu < MOST_GPUS; gpu++) { /* a file without XIDs is another machine's */
        char value[LINE];
        if (!text_of(&(Handle){gpu, -1}, "xids", value))
            delivered[gpu] = 0;
    }
    return error;
}

Return nvmlShutdown(void)
{
    Return error = enter("nvmlShutdown", NULL);
    initialized = 0;
    memset(watched, 0, sizeof watched);
    return error;
}

Return nvmlSystemGetDriverVersion(char *out, unsigned int size)
{
    Handle system = {0, -1};
    return text("nvmlSystemGetDriverVersion", &system, "driver", out, size);
}

Return nvmlDeviceGetCount_v2(unsigned int *count)
{
    Return error = enter("nvmlDeviceGetCount", NULL);
    *count = (unsigned int)number("gpus", 0);
    return error;
}

Return nvmlDeviceGetHandleByIndex_v2(unsigned int index, Handle **device)
{
    if (index >= MOST_GPUS || index >= number("gpus", 0))
        return INVALID_ARGUMENT;
    *device = &handles[index][MIG_PLACES];
    **device = (Handle){(int)index, -1};
    return enter("nvmlDeviceGetHandleByIndex", *device);
}

Return nvmlDeviceGetUUID(Handle *device, char *out, unsigned int size)
{
    return text("nvmlDeviceGetUUID", device, "uuid", out, size);
}

Return nvmlDeviceGetName(Handle *device, char *out, unsigned int size)
{
    return text("nvmlDeviceGetName", device, "name", out, size);
}

Return nvmlDeviceGetMinorNumber(Handle *device, unsigned int *minor)
{
    return small("nvmlDeviceGetMinorNumber", device, "minor", minor);
}

Return nvmlDeviceGetUtilizationRates(Handle *device, Utilization *rates)
{
    Return error = small("nvmlDeviceGetUtilizationRates", device, "utilization", &rates->gpu);
    return error ? error : small("nvmlDeviceGetUtilizationRates", device, "utilization.memory", &rates->memory);
}

Return nvmlDeviceGetMemoryInfo(Handle *device, Memory *memory)
{
    unsigned long long reserved;
    Return error = count_of("nvmlDeviceGetMemoryInfo", device, "memory.total", &memory->total);
    if (!error)
        error = count_of("nvmlDeviceGetMemoryInfo", device, "memory.used", &memory->used);
    if (!error && !count_of("nvmlDeviceGetMemoryInfo", device, "memory.reserved", &reserved))
        memory->used += reserved; /* version 1 does not tell them apart */
    memory->free = memory->total - memory->used;
    return error;
}

Return nvmlDeviceGetMemoryInfo_v2(Handle *device, MemoryV2 *memory)
{
    Return error = count_of("nvmlDeviceGetMemoryInfo_v2", device, "memory.reserved", &memory->reserved);
    if (!error)
        error = count_of("nvmlDeviceGetMemoryInfo", device, "memory.total", &memory->total);
    if (!error)
        error = count_of("nvmlDeviceGetMemoryInfo", device, "memory.used", &memory->used);
    memory->free = memory->total - memory->used - memory->reserved;
    return error;
}

Return nvmlDeviceGetPowerUsage(Handle *device, unsigned int *milliwatts)
{
    return small("nvmlDeviceGetPowerUsage", device, "power", milliwatts);
}

Return nvmlDeviceGetEnforcedPowerLimit(Handle *device, unsigned int *milliwatts)
{
    return small("nvmlDeviceGetEnforcedPowerLimit", device, "power.limit", milliwatts);
}

Return nvmlDeviceGetTotalEnergyConsumption(Handle *device, unsigned long long *millijoules)
{
    return count_of("nvmlDeviceGetTotalEnergyConsumption", device, "energy", millijoules);
}

Return nvmlDeviceGetTemperature(Handle *device, int sensor, unsigned int *celsius)
{
    return sensor ? INVALID_ARGUMENT : small("nvmlDeviceGetTemperature", device, "temperature", celsius);
}

Return nvmlDeviceGetClockInfo(Handle *device, int clock, unsigned int *megahertz)
{
    static const char *const kinds[] = {"clock.graphics", "clock.sm", "clock.memory", "clock.video"};
    return clock < 0 || clock > 3 ? INVALID_ARGUMENT : small("nvmlDeviceGetClockInfo", device, kinds[clock], megahertz);
}

Return nvmlDeviceGetTotalEccErrors(Handle *device, int kind, int counter, unsigned long long *errors)
{
    (void)counter;
    return count_of("nvmlDeviceGetTotalEccErrors", device, kind ? "ecc.uncorrected" : "ecc.corrected", errors);
}

Return nvmlDeviceGetComputeRunningProcesses_v3(Handle *device, unsigned int *count, Process *processes)
{
    char value[LINE], *rest = value, *item;
    unsigned int found = 0, room = *count;
    Return error = enter("nvmlDeviceGetComputeRunningProcesses", device);
    if (error)
        return error;
    if (!text_of(device, "processes", value))
        value[0] = 0;
    while ((item = strsep(&rest, ",")) && *item) {
        char *bytes = strchr(item, ':') + 1;
        if (found < room)
            processes[found] = (Process){(unsigned int)atoi(item), *bytes == '-' ? ~0ULL : strtoull(bytes, NULL, 10),
                                         ~0U, ~0U};
        found++;
    }
    *count = found;
    return found > room ? INSUFFICIENT_SIZE : SUCCESS;
}

Return nvmlDeviceGetMigMode(Handle *device, unsigned int *current, unsigned int *pending)
{
    char value[LINE];
    Return error = enter("nvmlDeviceGetMigMode", device);
    *current = *pending = !error && text_of(device, "mig", value);
    return error;
}

Return nvmlDeviceGetMaxMigDeviceCount(Handle *device, unsigned int *count)
{
    return small("nvmlDeviceGetMaxMigDeviceCount", device, "mig", count);
}

Return nvmlDeviceGetMigDeviceHandleByIndex(Handle *device, unsigned int index, Handle **mig)
{
    char value[LINE];
    Return error = enter("nvmlDeviceGetMigDeviceHandleByIndex", device);
    if (error || index >= MIG_PLACES)
        return error ? error : INVALID_ARGUMENT;
    *mig = &handles[device->gpu][index];
    **mig = (Handle){device->gpu, (int)index};
    return text_of(*mig, "uuid", value) ? SUCCESS : NOT_FOUND;
}

Return nvmlDeviceGetGpuInstanceId(Handle *device, unsigned int *id)
{
    return small("nvmlDeviceGetGpuInstanceId", device, "instance", id);
}

Return nvmlEventSetCreate(void **events)
{
    *events = delivered;
    return enter("nvmlEventSetCreate", NULL);
}

Return nvmlDeviceRegisterEvents(Handle *device, unsigned long long types, void *events)
{
    (void)events;
    Return error = enter("nvmlDeviceRegisterEvents", device);
    if (!error && types & XID_EVENT)
        watched[device->gpu] = 1;
    return error;
}

Return nvmlEventSetWait_v2(void *events, Event *event, unsigned int milliseconds)
{
    (void)events, (void)milliseconds;
    Return error = enter("nvmlEventSetWait", NULL);
    for (int gpu = 0; !error && gpu < MOST_GPUS; gpu++) {
        char value[LINE], *rest = value, *item = NULL;
        if (!watched[gpu] || !text_of(&(Handle){gpu, -1}, "xids", value))
            continue;
        for (int skip = 0; skip <= delivered[gpu] && (item = strsep(&rest, ",")); skip++)
            ;
        if (item && *item) {
            delivered[gpu]++;
            *event = (Event){&handles[gpu][MIG_PLACES], XID_EVENT, strtoull(item, NULL, 10), ~0U, ~0U};
            return SUCCESS;
        }
    }
    return error ? error : TIMEOUT;
}

Return nvmlEventSetFree(void *events)
{
    (void)events;
    return enter("nvmlEventSetFree", NULL);
}
