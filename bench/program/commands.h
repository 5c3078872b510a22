/* The program's commands. Each gets its own argc and argv, argv[0] being "fusedopt COMMAND", and returns the exit
 * status. main.c checks that stdout could be written. */
#ifndef COMMANDS_H
#define COMMANDS_H

int bench_command(int argc, char **argv);
int info_command(int argc, char **argv);
int state_command(int argc, char **argv);
int train_command(int argc, char **argv);
int verify_command(int argc, char **argv);

#endif
