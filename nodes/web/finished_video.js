import { app } from "../../scripts/app.js"

// The editor shows a node's last live preview over its output until the next run: the finished video would stay hidden.
app.registerExtension({
  name: "EverAnimate.FinishedVideo",
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (!["EverAnimateAnimate", "LongAnimationAnimate"].includes(nodeData.name)) return
    const { onExecuted } = nodeType.prototype
    nodeType.prototype.onExecuted = function (output) {
      onExecuted?.call(this, output)
      // No public call drops a preview. Emptied, not deleted: the editor itself cleans up only what it finds here.
      const key = this.graph.isRootGraph ? this.id : `${this.graph.id}:${this.id}`
      app.nodePreviewImages?.[key]?.splice(0)
      // The picture goes too: as long as a node has one, every redraw makes a widget for it.
      this.imgs = undefined
      const preview = this.widgets.find((widget) => widget.name === "$$canvas-image-preview")
      if (preview) this.removeWidget(preview)
    }
  },
})
