"""Linux's modules for gdb: at every stop it has the symbols of those that are loaded where the guest stands then.

Sourced by `vkernel gdb`. What is loaded, and from which files, is the server's to say: `monitor show modules/g` prints gdb's
commands for it. As the cursor moves in time, modules come and go.
"""

import gdb


class VkernelModules:
    def __init__(self):
        # The commands that were executed, with an address that each brought.
        self.loaded = {}
        gdb.events.stop.connect(self.refresh)

    def refresh(self, _event=None):
        try:
            said = gdb.execute("monitor show modules/g", to_string=True)
        except gdb.error:
            # Nobody is connected.
            return
        wanted = [line for line in said.splitlines() if line.startswith("add-symbol-file ")]
        for command in [known for known in self.loaded if known not in wanted]:
            self.execute("remove-symbol-file -a " + self.loaded.pop(command))
        for command in wanted:
            if command not in self.loaded and self.execute(command):
                self.loaded[command] = self.text_address(command)

    @staticmethod
    def text_address(command):
        words = command.split()
        return words[words.index(".text") + 1] if ".text" in words else words[-1]

    @staticmethod
    def execute(command):
        try:
            gdb.execute(command, from_tty=False, to_string=True)
            return True
        except gdb.error as error:
            print("%s: %s" % (command.split(" -s ")[0], error))
            return False


VkernelModules()
