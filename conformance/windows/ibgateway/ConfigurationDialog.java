package ibgateway;

import java.awt.BorderLayout;
import java.time.LocalTime;
import java.time.format.DateTimeFormatter;
import java.util.Locale;
import java.util.function.Consumer;
import javax.swing.BoxLayout;
import javax.swing.ButtonGroup;
import javax.swing.JButton;
import javax.swing.JCheckBox;
import javax.swing.JDialog;
import javax.swing.JFrame;
import javax.swing.JLabel;
import javax.swing.JPanel;
import javax.swing.JRadioButton;
import javax.swing.JTextField;
import javax.swing.JTree;
import javax.swing.tree.DefaultMutableTreeNode;

/** The configuration: a tree of sections and the controls that a controller sets, all on one page. */
final class ConfigurationDialog {
    private static final DateTimeFormatter RESTART_TIME = DateTimeFormatter.ofPattern("h:mm a", Locale.ENGLISH);

    private final JFrame owner;
    private final boolean withReadOnly;
    private final JTextField time = new JTextField("11:45");
    private final JRadioButton pm = new JRadioButton("PM", true);
    private final JRadioButton restart = new JRadioButton("Auto restart");
    private final Consumer<LocalTime> onRestartTime;

    /** {@code onRestartTime} gets the restart time whenever the dialog is confirmed with one. */
    ConfigurationDialog(JFrame owner, boolean withReadOnly, Consumer<LocalTime> onRestartTime) {
        this.owner = owner;
        this.withReadOnly = withReadOnly;
        this.onRestartTime = onRestartTime;
    }

    void open() {
        JDialog dialog = new JDialog(owner, "DU1234567 Trader Workstation Configuration", false);
        JPanel page = new JPanel();
        page.setLayout(new BoxLayout(page, BoxLayout.Y_AXIS));
        if (withReadOnly) {
            page.add(new JCheckBox("Read-Only API", true));
        }
        page.add(new JCheckBox("Bypass Order Precautions for API Orders"));
        page.add(named("Socket port", new JTextField("4002")));
        page.add(named("Master API client ID", new JTextField("")));
        page.add(restartTime());
        JButton ok = new JButton("OK");
        ok.addActionListener(event -> {
            if (restart.isSelected()) {
                String half = pm.isSelected() ? " PM" : " AM";
                onRestartTime.accept(LocalTime.parse(time.getText() + half, RESTART_TIME));
            }
            dialog.dispose();
        });
        page.add(ok);
        dialog.add(new JTree(sections()), BorderLayout.WEST);
        dialog.add(page, BorderLayout.CENTER);
        Swing.show(dialog, 50, 50);
    }

    private static DefaultMutableTreeNode sections() {
        DefaultMutableTreeNode root = new DefaultMutableTreeNode("Configuration");
        DefaultMutableTreeNode api = new DefaultMutableTreeNode("API");
        api.add(new DefaultMutableTreeNode("Settings"));
        api.add(new DefaultMutableTreeNode("Precautions"));
        root.add(api);
        root.add(new DefaultMutableTreeNode("Lock and Exit"));
        return root;
    }

    private static JPanel named(String name, JTextField field) {
        JPanel panel = new JPanel();
        panel.setName(name);
        panel.add(new JLabel(name));
        panel.add(field);
        return panel;
    }

    private JPanel restartTime() {
        JRadioButton am = new JRadioButton("AM");
        JRadioButton logoff = new JRadioButton("Auto logoff", true);
        group(am, pm);
        group(logoff, restart);
        JPanel controls = new JPanel();
        controls.add(new JLabel("Set Auto Restart Time (HH:MM)"));
        controls.add(time);
        controls.add(am);
        controls.add(pm);
        controls.add(logoff);
        controls.add(restart);
        JPanel section = new JPanel();
        section.add(controls);
        return section;
    }

    private static void group(JRadioButton... buttons) {
        ButtonGroup group = new ButtonGroup();
        for (JRadioButton button : buttons) {
            group.add(button);
        }
    }
}
