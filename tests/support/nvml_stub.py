"""A stand-in for NVIDIA's management library, compiled on the spot, so that the real nvidia-ml-py can be exercised.

It is told what to show by environment variables: NVML_STUB_UUIDS, the UUIDs of the GPUs with commas between them
(one that begins with `lost` has fallen off the bus), and NVML_STUB_INIT, the error code of its initialisation. Each GPU
has 16 GiB. What GPU 0 is like besides: NVML_STUB_HELD, `PID:MiB` of a process that computes on it; NVML_STUB_BUSY, how
busy it is in per cent; NVML_STUB_ECC, its uncorrected memory errors; NVML_STUB_DEGREES, its temperature.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

DRIVER_NOT_LOADED = 9
LIBRARY_MISMATCH = 18

_SOURCE = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { unsigned index; char uuid[96]; } Device;
static Device devices[16];

static unsigned read_devices(void) {
    const char *text = getenv("NVML_STUB_UUIDS");
    unsigned count = 0;
    while (text && *text && count < 16) {
        size_t length = strcspn(text, ",");
        snprintf(devices[count].uuid, sizeof devices[count].uuid, "%.*s", (int)length, text);
        devices[count].index = count;
        count++;
        text += length + (text[length] == ',');
    }
    return count;
}

int nvmlInitWithFlags(unsigned flags) {
    const char *code = getenv("NVML_STUB_INIT");
    return code ? atoi(code) : 0;
}
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = read_devices(); return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, Device **device) {
    if (index >= read_devices()) return 2;
    *device = &devices[index];
    return strncmp(devices[index].uuid, "lost", 4) == 0 ? 15 : 0;
}
int nvmlDeviceGetIndex(Device *device, unsigned *index) { *index = device->index; return 0; }
int nvmlDeviceGetUUID(Device *device, char *uuid, unsigned length) {
    snprintf(uuid, length, "%s", device->uuid);
    return 0;
}
int nvmlSystemGetDriverVersion(char *version, unsigned length) { snprintf(version, length, "580.65.06"); return 0; }
int nvmlDeviceGetName(Device *device, char *name, unsigned length) { snprintf(name, length, "Stub 16"); return 0; }
static unsigned number(Device *device, const char *variable) {
    const char *text = device->index == 0 ? getenv(variable) : NULL;
    return text ? (unsigned)atoi(text) : 0;
}
static unsigned long long held_mib(Device *device) {
    const char *text = device->index == 0 ? getenv("NVML_STUB_HELD") : NULL;
    return text && strchr(text, ':') ? strtoull(strchr(text, ':') + 1, NULL, 10) : 0;
}
int nvmlDeviceGetMemoryInfo(Device *device, unsigned long long *memory) {
    memory[0] = 16ull << 30;
    memory[2] = held_mib(device) << 20;
    memory[1] = memory[0] - memory[2];
    return 0;
}
typedef struct { unsigned pid; unsigned long long bytes; unsigned instance, compute; } Process;
int nvmlDeviceGetComputeRunningProcesses_v3(Device *device, unsigned *count, Process *found) {
    if (!held_mib(device)) { *count = 0; return 0; }
    if (*count < 1) { *count = 1; return 7; }
    *count = 1;
    found[0] = (Process){number(device, "NVML_STUB_HELD"), held_mib(device) << 20, 0, 0};
    return 0;
}
int nvmlDeviceGetTotalEccErrors(Device *device, int type, int counter, unsigned long long *errors) {
    *errors = number(device, "NVML_STUB_ECC");
    return 0;
}
int nvmlDeviceGetTemperature(Device *device, int sensor, unsigned *degrees) {
    *degrees = number(device, "NVML_STUB_DEGREES");
    return 0;
}
int nvmlDeviceGetUtilizationRates(Device *device, unsigned *rates) {
    rates[0] = number(device, "NVML_STUB_BUSY");
    rates[1] = 0;
    return 0;
}
const char *nvmlErrorString(int code) { return "An error"; }
"""


def build_nvml_stub(folder: Path) -> Path:
    """Compile the stub into `folder`; returns the folder, which belongs on LD_LIBRARY_PATH."""
    source = folder / "nvml_stub.c"
    source.write_text(_SOURCE)
    library = folder / "libnvidia-ml.so.1"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O0", "-o", str(library), str(source)], check=True)
    return folder


def run_with_gpus(code: str, *, library_dir: Path | None, uuids: str = "", init: int = 0, **more: str) -> Any:
    """What `code`, run by a fresh Python that finds the stub, prints as JSON.

    Args:
        code: Statements; warnings are errors in them.
        library_dir: As `build_nvml_stub` returns it; None for a machine without a driver.
        uuids: NVML_STUB_UUIDS.
        init: NVML_STUB_INIT.
        more: Further environment variables.
    """
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    environment |= {"NVML_STUB_UUIDS": uuids, "NVML_STUB_INIT": str(init), "PYTHONPATH": str(Path(__file__).parents[2])}
    environment["LD_LIBRARY_PATH"] = str(library_dir) if library_dir else "/nonexistent"
    environment |= more
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
