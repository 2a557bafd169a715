"""DAFormer, HRDA and MIC: three steps of one method, each with all of the one before.

DAFormer: a teacher, the moving average of the network, labels target pictures; half of the classes of a
source picture are pasted into a target picture and the network learns the mixture. HRDA: the network sees
the whole crop at half size and a part of it at full size. MIC: from a target picture most of which is hidden
the network must predict what the teacher says of the whole one.

In preparation: no entry point registers it yet.
"""
